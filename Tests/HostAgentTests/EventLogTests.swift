import AgentAPI
import Dispatch
import HostAgent
import HostModel
import HostOS
import HostTestSupport
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct EventLogTests {
    private func past(_ log: EventLog, since: Int, through: Int) async throws -> [Int] {
        var bytes: [UInt8] = []
        try await log.past(since: since, through: through) { bytes += $0 }
        return bytes.split(separator: 10).compactMap { EventRecord(line: $0)?.seq }
    }

    @Test func numbersAndReplay() async throws {
        let scratch = try Scratch()
        let log = try EventLog(path: scratch.path + "/log", sink: nil)
        for number in 1...500 { log.emit(.guestLog(line: "\(number)")) }
        let subscription = log.subscribe()
        #expect(subscription.emitted == 500)
        #expect(try await past(log, since: 0, through: 500) == Array(1...500))
        #expect(try await past(log, since: 498, through: 500) == [499, 500])
        #expect(try await past(log, since: 500, through: 500) == [])
        log.emit(.guestReady)
        log.close()
        log.emit(.guestReady)
        var live: [Int] = []
        for await line in subscription.live { live.append(EventRecord(line: line.utf8)?.seq ?? 0) }
        #expect(live == [501])
    }

    /// Each line is one event. A line that a full disk cuts off is not left half written, and the numbers have no gap.
    @Test(.enabled(if: HostProcess.uid == 0)) func aFullDiskCostsEventsNotTheLog() async throws {
        let scratch = try Scratch()
        let disk = try await SmallDisk(at: scratch.path + "/disk", size: "16k")
        let path = disk.path + "/log"
        let log = try EventLog(path: path, sink: nil)
        let subscription = log.subscribe()
        for number in 1...200 { log.emit(.guestLog(line: "line \(number) \(String(repeating: "x", count: 100))")) }
        let isFull = await eventually(within: 20) { (Files.size(path) ?? 0) > 8192 }
        #expect(isFull)
        await log.flush(seconds: 0.5)
        let full = try TextFile.read(path)
        let count = full.split(separator: "\n").count
        // Events that are not on disk are still delivered, once and in order.
        #expect(try await past(log, since: 0, through: 200) == Array(1...200))
        // The disk has room again. The waiting events follow the last whole line, and no number is used twice.
        try await disk.resize(to: "1m")
        log.emit(.guestReady)
        await log.flush(seconds: 20)
        let numbers = try TextFile.read(path).split(separator: "\n").compactMap { EventRecord(line: $0.utf8)?.seq }
        #expect(try await past(log, since: 198, through: 201) == [199, 200, 201])
        log.close()
        var live: [Int] = []
        for await line in subscription.live { live.append(EventRecord(line: line.utf8)?.seq ?? 0) }
        #expect(full.hasSuffix("\n") && count < 200)
        #expect(numbers == Array(1...201))
        #expect(live == Array(1...201), "those who follow have seen the same numbers")
    }

    @Test func nothingIsMissedOrDoubledBetweenPastAndLive() async throws {
        let scratch = try Scratch()
        let log = try EventLog(path: scratch.path + "/log", sink: nil)
        async let writer: Void = {
            for number in 1...800 {
                log.emit(.guestLog(line: "\(number)"))
                if number % 50 == 0 { await Task.yield() }
            }
            log.close()
        }()
        var seen: [Int] = []
        let subscription = log.subscribe()
        seen += try await past(log, since: 0, through: subscription.emitted)
        for await line in subscription.live { seen.append(EventRecord(line: line.utf8)?.seq ?? 0) }
        await writer
        #expect(seen == Array(1...800))
    }

    @Test func aReaderThatNeverReadsIsLetGo() async throws {
        let scratch = try Scratch()
        let log = try EventLog(path: scratch.path + "/log", sink: nil)
        let subscription = log.subscribe()
        for number in 1...3000 { log.emit(.guestLog(line: "\(number)")) }
        var count = 0
        for await _ in subscription.live { count += 1 }
        #expect(count <= 1024, "what it could hold, then the end")
        log.close()
    }

    /// A stopped terminal blocks neither the agent nor its clients.
    @Test func aSinkThatBlocksHoldsUpNobody() async throws {
        let scratch = try Scratch()
        let gate = DispatchSemaphore(value: 0)
        let log = try EventLog(path: scratch.path + "/log") { _ in
            gate.wait()
            return true
        }
        for _ in 0..<100 { log.emit(.guestReady) }
        #expect(log.snapshot.phase == .preparing)
        for _ in 0..<100 { gate.signal() }
        await log.drain(seconds: 10)
    }

    @Test func aSinkThatIsDoneIsNotCalledAgain() async throws {
        let scratch = try Scratch()
        let calls = Mutex(0)
        let log = try EventLog(path: scratch.path + "/log") { _ in
            calls.withLock {
                $0 += 1
                return $0 < 2
            }
        }
        for _ in 0..<5 {
            log.emit(.guestReady)
            await log.drain(seconds: 10)
        }
        #expect(calls.withLock { $0 } == 2)
    }

    /// A guest that reboots for ever does not fill the host's disk. The newest events are kept.
    @Test func aLogIsBounded() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/log"
        let log = try EventLog(path: path, sink: nil, limit: 64 << 10)
        for number in 1...4000 {
            log.emit(.guestLog(line: "\(number) \(String(repeating: "x", count: 80))"))
            if number % 100 == 0 { await log.flush(seconds: 10) }
        }
        await log.flush(seconds: 10)
        let size = (Files.size(path) ?? 0) + (Files.size(path + ".1") ?? 0)
        #expect(size <= 64 << 10 && size > 16 << 10)
        let kept = try await past(log, since: 0, through: 4000)
        #expect(kept.last == 4000 && kept == Array((kept.first ?? 0)...4000), "no gap within what is kept")
        #expect(try EventLogFiles.lines(path).compactMap { EventRecord(line: $0.utf8)?.seq } == kept)
        log.close()
        // The next run has a log of its own. The older file is not treated as a part of it.
        let next = try EventLog(path: path, sink: nil, limit: 64 << 10)
        next.emit(.guestReady)
        await next.flush(seconds: 10)
        #expect(try await past(next, since: 0, through: 1) == [1])
        #expect(try EventLogFiles.lines(path).count == 1)
        next.close()
    }

    /// What the next agent has to know of the guest outlasts every rotation.
    @Test func whatDecidesIsKept() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/log"
        let log = try EventLog(path: path, sink: nil, limit: 64 << 10)
        log.emit(.guestSpawned(pid: 1, accelerator: .tcg))
        log.emit(.provisioningFailed(mode: "system", script: "001", status: 7))
        log.emit(.guestReady)
        for number in 1...4000 {
            log.emit(.guestLog(line: "\(number) \(String(repeating: "x", count: 80))"))
            if number % 100 == 0 { await log.flush(seconds: 10) }
        }
        await log.flush(seconds: 10)
        log.close()
        let kinds = try EventLogFiles.lines(path).compactMap { EventRecord(line: $0.utf8)?.event.kind }
        for kind in ["guest-spawned", "provisioning-failed", "guest-ready"] {
            #expect(kinds.filter { $0 == kind }.count == 1, "\(kind)")
        }
        let kept = try await past(log, since: 0, through: 4003)
        #expect(kept.prefix(3) == [1, 2, 3] && kept.last == 4003 && kept == kept.sorted())
    }

    /// The log has a queue of its own. A write to a hung disk that never ends blocks neither emitters nor readers.
    @Test func aHungDiskHoldsUpNobody() async throws {
        let scratch = try Scratch()
        // No process reads the pipe, so its writer blocks once the pipe is full.
        let path = scratch.path + "/log"
        #expect(try await Tool("mkfifo", [path]).run().succeeded)
        let reader = try Descriptor(path: path, flags: 2)
        let writer = try EventLogWriter(appendingTo: path, limit: 1 << 30)
        let began = ContinuousClock.now
        let text = String(repeating: "x", count: 1000) + "\n"
        for seq in 1...2000 { writer.append(.init(seq: seq, text: text)) }
        await writer.flush(seconds: 0.2)
        #expect(ContinuousClock.now - began < .seconds(5))
        #expect(writer.pending.last?.seq == 2000)
        // A new reader gets the lines, and the writer can end.
        let drain = Task { try await Tool("cat", [path]).run(outputLimit: 0) }
        await writer.flush(seconds: 20)
        #expect(writer.pending.isEmpty)
        drain.cancel()
        _ = try? await drain.value
        withExtendedLifetime(reader.number) {}
    }

    @Test func aLogThatIsRemovedComesBackWithTheNewestEvents() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/log"
        let log = try EventLog(path: path, sink: nil)
        for number in 1...10 { log.emit(.guestLog(line: "\(number)")) }
        await log.flush(seconds: 10)
        #expect(!log.restore(), "nothing to be done")
        try Files.remove(path)
        #expect(log.restore())
        log.emit(.guestReady)
        await log.flush(seconds: 10)
        #expect(try EventLogFiles.lines(path).compactMap { EventRecord(line: $0.utf8)?.seq } == Array(1...11))
        log.close()
    }

    /// The newest events alone do not tell how far the guest has come.
    @Test func aRestoredLogBeginsWithWhatDecides() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/log"
        let log = try EventLog(path: path, sink: nil)
        log.emit(.guestSpawned(pid: 1, accelerator: .tcg))
        log.emit(.guestReady)
        for number in 1...200 { log.emit(.guestLog(line: "\(number)")) }
        await log.flush(seconds: 10)
        try Files.remove(path)
        #expect(log.restore())
        log.emit(.phaseChanged(.running))
        await log.flush(seconds: 10)
        log.close()
        let sequence = try EventLogFiles.lines(path).compactMap { EventRecord(line: $0.utf8)?.seq }
        #expect(sequence.prefix(2) == [1, 2] && sequence.last == 203)
        #expect(sequence == sequence.sorted() && Set(sequence).count == sequence.count)
    }

    @Test func theLastRunIsKeptAndErrorsStandUntilTheGuestRunsAgain() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/log"
        let first = try EventLog(path: path, sink: nil)
        first.emit(.failure("broken"))
        await first.flush(seconds: 10)
        let second = try EventLog(path: path, sink: nil)
        #expect(first.run != second.run)
        #expect(try TextFile.read(path + ".1").contains("broken"))
        second.emit(.provisioningFailed(mode: "system", script: "001", status: 7))
        second.emit(.phaseChanged(.degraded))
        #expect(second.snapshot.errors.count == 1 && second.snapshot.readyAt != nil)
        second.emit(.phaseChanged(.running))
        #expect(second.snapshot.errors == [])
    }
}
