import AgentAPI
import Dispatch
import Foundation
import HostModel
import HostOS
import Synchronization

/// The agent's memory of what happened: numbers events, has them written to `ha.stdout.log`, and hands them to whoever
/// follows. The past is read back from the file, so that it costs no memory; the file alone is behind when a disk is.
package final class EventLog: Sendable {
    /// Called with each event as it happens, in order; false means that it needs no more.
    package typealias Sink = @Sendable (EventRecord) -> Bool

    package let run: String
    package let startedAt: Date

    fileprivate struct State {
        var seq = 0
        var phase = Phase.preparing
        var standing = EventRecord.Standing()
        var readyAt: Date?
        var guestPID: Int32?
        var accelerator: Accelerator?
        var sink: Sink?
        var followers: [Int: AsyncStream<String>.Continuation] = [:]
        var nextFollower = 0
        /// Events that wait for the sink.
        var sinkBacklog = 0
        /// Subscriptions that were not cancelled: readers that may still have something to read.
        var subscriptions = 0
        /// Finished when neither of the two is left.
        var drained: AsyncStream<Void>.Continuation?
        /// The newest lines, to be put into a log that somebody removed.
        var recent: [EventLogWriter.Line] = []
        /// What the next agent reads to know how far the guest has come, however long this run becomes.
        var deciding: [EventLogWriter.Line] = []
        var closed = false
    }

    private let path: String
    private let writer: EventLogWriter
    private let startedMonotonic: Double
    private let state: Mutex<State>

    /// The default limit of a log in bytes.
    package static let defaultLimit = 16 << 20
    /// How many of the newest lines are kept in memory.
    private static let recentCapacity = 64

    /// Begins a new run; the log of the last one is kept as `….1`.
    /// - Parameter limit: bytes that the log may have; the newest events are kept.
    /// - Throws: `SystemCallError` when the log cannot be made.
    package init(
        path: String, sink: Sink?, phase: Phase = .preparing, limit: Int = EventLog.defaultLimit
    ) throws(SystemCallError) {
        self.path = path
        run = UUID().uuidString.lowercased()
        startedAt = Date()
        startedMonotonic = HostProcess.monotonicSeconds
        writer = try EventLogWriter(path: path, limit: limit)
        state = Mutex(State(phase: phase, sink: sink))
    }

    /// A reader of the sink that does not read, such as a stopped terminal, holds up this queue and nothing else.
    private let sinkQueue = DispatchQueue(label: "event-sink")
    /// Beyond this many that wait, events for the sink are dropped.
    private static let sinkCapacity = 4096

    private func deliver(_ record: EventRecord, _ state: inout State) {
        guard let sink = state.sink, state.sinkBacklog < Self.sinkCapacity else { return }
        state.sinkBacklog += 1
        sinkQueue.async { [weak self] in
            let wantsMore = sink(record)
            self?.state.withLock { state in
                if !wantsMore { state.sink = nil }
                state.sinkBacklog -= 1
                state.reportIfDrained()
            }
        }
    }

    /// Waits until those who follow have what was emitted, at most for this many seconds.
    package func drain(seconds: Double) async {
        let (drained, continuation) = AsyncStream.makeStream(of: Void.self)
        state.withLock { state in
            state.drained = continuation
            state.reportIfDrained()
        }
        DispatchQueue.global().asyncAfter(deadline: .now() + seconds) { continuation.finish() }
        async let flushed = writer.flush(seconds: seconds)
        for await _ in drained {}
        _ = await flushed
    }

    /// Waits until what was emitted is on disk, at most for this many seconds.
    /// - Returns: false when the time was over first.
    @discardableResult
    package func flush(seconds: Double) async -> Bool { await writer.flush(seconds: seconds) }

    /// The same without giving way to other tasks, right before the program is replaced.
    func waitForWrites() { writer.waitForWrites() }

    /// Makes the log anew where somebody removed it, with the newest events.
    /// - Returns: it was gone.
    package func restore() -> Bool {
        if writer.isInPlace { return false }
        writer.restore(state.withLock { $0.recent })
        return true
    }

    package var elapsed: Double { HostProcess.monotonicSeconds - startedMonotonic }

    /// What `GET /v1/info` says of the state.
    package var snapshot: Snapshot {
        state.withLock {
            Snapshot(
                phase: $0.phase, errors: $0.standing.errors, sshLocalPort: $0.standing.sshLocalPort,
                readyAt: $0.readyAt, guestPID: $0.guestPID, accelerator: $0.accelerator)
        }
    }

    package struct Snapshot: Sendable {
        package var phase: Phase
        package var errors: [String]
        package var sshLocalPort: Int?
        package var readyAt: Date?
        package var guestPID: Int32?
        package var accelerator: Accelerator?
    }

    package func setGuest(pid: Int32?, accelerator: Accelerator?) {
        state.withLock {
            $0.guestPID = pid
            $0.accelerator = accelerator
        }
    }

    package func setSSHLocalPort(_ port: Int) { state.withLock { $0.standing.sshLocalPort = port } }

    package func emit(_ event: AgentEvent) {
        let finished: [AsyncStream<String>.Continuation] = state.withLock { state in
            guard !state.closed else { return [] }
            state.apply(event)
            state.seq += 1
            let record = EventRecord(
                event, run: run, seq: state.seq, phase: state.phase, standing: state.standing, elapsed: elapsed,
                time: Date())
            let line = record.line
            let numbered = EventLogWriter.Line(seq: state.seq, text: line)
            state.recent.append(numbered)
            if state.recent.count > Self.recentCapacity { state.recent.removeFirst() }
            writer.append(numbered, standing: state.decide(event, numbered))
            deliver(record, &state)
            // The stream of a reader that does not keep up is ended. The reader can come back for the events it missed.
            var dropped: [AsyncStream<String>.Continuation] = []
            for (id, follower) in state.followers {
                if case .dropped = follower.yield(line) {
                    state.followers[id] = nil
                    dropped.append(follower)
                }
            }
            return dropped
        }
        for follower in finished { follower.finish() }
    }

    /// No event comes any more: all streams end.
    package func close() {
        let followers = state.withLock { state in
            state.closed = true
            let followers = state.followers
            state.followers = [:]
            return followers
        }
        for follower in followers.values { follower.finish() }
    }

    private final class Once: Sendable {
        private let done = Atomic(false)
        func first() -> Bool { !done.exchange(true, ordering: .relaxed) }
    }

    /// One who follows: what was emitted before, and what comes.
    package struct Subscription: Sendable {
        /// How many events of the log are the past.
        package let emitted: Int
        package let live: AsyncStream<String>
        package let cancel: @Sendable () -> Void
    }

    package func subscribe() -> Subscription {
        let (stream, continuation) = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingOldest(1024))
        let (emitted, id): (Int, Int?) = state.withLock { state in
            guard !state.closed else { return (state.seq, nil) }
            state.nextFollower += 1
            state.subscriptions += 1
            state.followers[state.nextFollower] = continuation
            return (state.seq, state.nextFollower)
        }
        if id == nil { continuation.finish() }
        let once = Once()
        return Subscription(emitted: emitted, live: stream) { [weak self] in
            if id != nil, once.first() {
                self?.state.withLock { state in
                    state.subscriptions -= 1
                    if let id { state.followers[id] = nil }
                    state.reportIfDrained()
                }
            }
            continuation.finish()
        }
    }

    /// The lines of events `since + 1` to `through`, in portions: from the log, and from memory where they are not on disk
    /// yet. Events that a long run has dropped from its log are left out.
    package func past(since: Int, through: Int, _ portion: ([UInt8]) async throws -> Void) async throws {
        if since >= through { return }
        // In this order: what is written meanwhile is in both, and told once.
        let pending = writer.pending
        var last = since
        var current: FileIdentity?
        repeat {
            // A log that was rotated while it was read is read once more, after the last line that was told.
            current = Files.identity(path)
            try await read(&last, through, portion)
        } while Files.identity(path) != current
        let unwritten = pending.filter { $0.seq > last && $0.seq <= through }
        if !unwritten.isEmpty { try await portion(unwritten.flatMap { Array($0.text.utf8) }) }
    }

    private func read(_ last: inout Int, _ through: Int, _ portion: ([UInt8]) async throws -> Void) async throws {
        // Both are opened before either is read: a rotation in between takes no lines away.
        let older = try? Descriptor(path: EventLogFiles.older(path), flags: 0)
        let newer = try? Descriptor(path: path, flags: 0)
        if let older {
            try await read(older, &last, through, ofThisRun: false, portion)
        }
        if let newer {
            try await read(newer, &last, through, ofThisRun: true, portion)
        }
    }

    private func read(
        _ file: borrowing Descriptor, _ last: inout Int, _ through: Int, ofThisRun isKnown: Bool,
        _ portion: ([UInt8]) async throws -> Void
    ) async throws {
        var isOurs = isKnown
        var rest: [UInt8] = []
        while true {
            let bytes = try await Self.nextPart(of: file.number, path)
            if bytes.isEmpty { return }
            rest += bytes
            guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { continue }
            let lines = rest[...end].split(separator: UInt8(ascii: "\n"))
            rest.removeSubrange(...end)
            // The older file can be another run's, whose numbers mean nothing here.
            if !isOurs, let first = lines.first, EventRecord(line: first)?.run != run { return }
            isOurs = true
            var wanted: [UInt8] = []
            for line in lines {
                guard let seq = EventRecord.seq(ofLine: line), seq > last, seq <= through else { continue }
                wanted += line + [UInt8(ascii: "\n")]
                last = seq
            }
            if !wanted.isEmpty { try await portion(wanted) }
        }
    }

    /// Reads on a thread of its own: the answers of the API run on one event loop, which a disk that hangs must not stop.
    private static func nextPart(of number: Int32, _ path: String) async throws -> [UInt8] {
        try await withCheckedThrowingContinuation { continuation in
            readers.async {
                continuation.resume(with: Result { try Descriptor.read(from: number, upTo: 32_768, subject: path) })
            }
        }
    }

    private static let readers = DispatchQueue(label: "event-log-readers", attributes: .concurrent)
}

extension EventLog.State {
    fileprivate func reportIfDrained() {
        if subscriptions == 0, sinkBacklog == 0 { drained?.finish() }
    }

    /// Keeps the events that decide what an agent makes of a guest that it attaches to.
    /// - Returns: those that count now; nil when nothing has changed.
    fileprivate mutating func decide(
        _ event: AgentEvent, _ line: EventLogWriter.Line
    ) -> [EventLogWriter.Line]? {
        switch event {
        case .guestSpawned, .guestRebooted: deciding = [line]
        case .guestReady, .provisioningFailed: deciding.append(line)
        default: return nil
        }
        if deciding.count > 32 { deciding.remove(at: 1) }
        return deciding
    }

    /// What an event changes in the standing state.
    fileprivate mutating func apply(_ event: AgentEvent) {
        switch event {
        case .phaseChanged(let next):
            phase = next
            if next.isUsable, readyAt == nil { readyAt = Date() }
            if next == .running { standing.errors = [] }
        case .failure(let reason): standing.errors.append(reason)
        case .provisioningFailed(let mode, let script, let status):
            standing.errors.append(AgentEvent.provisioningFault(mode: mode, script: script, status: status))
        default: break
        }
    }
}

extension AgentEvent {
    /// The sentence for people about a failed provisioning script.
    static func provisioningFault(mode: String, script: String, status: Int) -> String {
        "provisioning script \(mode)/\(script) ended with status \(status); its output is in the guest's "
            + "/var/log/hostagent-provision.log"
    }
}
