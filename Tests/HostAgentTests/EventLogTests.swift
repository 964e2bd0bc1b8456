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

    /// A line is an event: what a full disk cuts off is not left half, and the numbers have no gap.
    @Test(.enabled(if: HostProcess.uid == 0)) func aFullDiskCostsEventsNotTheLog() async throws {
        let scratch = try Scratch()
        let mounted = try await Tool("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", scratch.path]).run()
        #expect(mounted.succeeded)
        let path = scratch.path + "/log"
        let log = try EventLog(path: path, sink: nil)
        for number in 1...200 { log.emit(.guestLog(line: "line \(number) \(String(repeating: "x", count: 100))")) }
        let full = try TextFile.read(path)
        let count = full.split(separator: "\n").count
        let size = Files.size(path)
        // Room again: the next event follows the last whole one.
        #expect(try await Tool("mount", ["-o", "remount,size=1m", scratch.path]).run().succeeded)
        log.emit(.guestReady)
        let numbers = try TextFile.read(path).split(separator: "\n").compactMap { EventRecord(line: $0.utf8)?.seq }
        log.close()
        _ = try await Tool("umount", ["-l", scratch.path]).run()
        #expect(full.hasSuffix("\n") && count < 200 && size == full.utf8.count)
        #expect(numbers == Array(1...count + 1))
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

    /// A stopped terminal holds up neither the agent nor what asks it.
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

    @Test func theLastRunIsKeptAndErrorsStandUntilTheGuestRunsAgain() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/log"
        let first = try EventLog(path: path, sink: nil)
        first.emit(.failure("broken"))
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
