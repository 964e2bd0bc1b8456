import AgentAPI
import Dispatch
import Foundation
import HostModel
import HostOS
import Synchronization

/// The record of what happened in an agent's run. It numbers the events, writes them to `ha.stdout.log`, and passes
/// them to followers. Past events are read back from the file to save memory. If the disk is slow, only the file falls
/// behind.
package final class EventLog: Sendable {
    /// Called with each event, in order. It returns false if it needs no more events.
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
        /// The number of events that wait for the sink.
        var sinkBacklog = 0
        /// The number of subscriptions that were not cancelled. Their readers may still have events to read.
        var subscriptions = 0
        /// Finished when no event waits for the sink and no subscription is left.
        var drained: AsyncStream<Void>.Continuation?
        /// The newest lines, to restore a log that was removed.
        var recent: [EventLogWriter.Line] = []
        /// The lines that tell the next agent how far the guest has come. They are kept however long the run is.
        var deciding: [EventLogWriter.Line] = []
        var closed = false
    }

    private let path: String
    private let writer: EventLogWriter
    private let startedMonotonic: Double
    private let state: Mutex<State>

    /// The default limit of a log in bytes.
    package static let defaultLimit = 16 << 20
    /// The number of lines in `recent`.
    private static let recentCapacity = 64

    /// Begins a new run. The log of the previous run is kept as `….1`.
    /// - Parameter limit: the maximum size of the log in bytes. The newest events are kept.
    /// - Throws: `SystemCallError` if the log cannot be created.
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

    /// A sink whose reader does not read, such as a stopped terminal, only blocks this queue.
    private let sinkQueue = DispatchQueue(label: "event-sink")
    /// The maximum number of events that wait for the sink. Further events are dropped.
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

    /// Waits until all followers have received the emitted events, at most for this many seconds.
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

    /// Waits until all emitted events are on disk, at most for this many seconds.
    /// - Returns: false if the time ran out.
    @discardableResult
    package func flush(seconds: Double) async -> Bool { await writer.flush(seconds: seconds) }

    /// Blocks until the writes have ended, so that no other task runs before the program is replaced.
    func waitForWrites() { writer.waitForWrites() }

    /// If the log was removed, creates it again with the newest events.
    /// - Returns: true if the log was missing.
    package func restore() -> Bool {
        if writer.isInPlace { return false }
        writer.restore(state.withLock { $0.recent })
        return true
    }

    package var elapsed: Double { HostProcess.monotonicSeconds - startedMonotonic }

    /// The state for `GET /v1/info`.
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
            // A follower that does not keep up is disconnected. It can come back for the events that it missed.
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

    /// Ends all streams. Later events are ignored.
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

    /// A follower's view of the log: the number of past events, and the stream of new ones.
    package struct Subscription: Sendable {
        /// The number of events that were emitted before the subscription.
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

    /// Passes the lines of the events `since + 1` to `through` in portions. They come from the log, or from memory if
    /// they are not on disk yet. Events that a long run has dropped from its log are left out.
    package func past(since: Int, through: Int, _ portion: ([UInt8]) async throws -> Void) async throws {
        if since >= through { return }
        // Fetch the pending lines before reading the file. A line that is written in between is in both, but is passed
        // on only once.
        let pending = writer.pending
        var last = since
        var current: FileIdentity?
        repeat {
            // If the log was rotated meanwhile, read it again from the last line that was passed on.
            current = Files.identity(path)
            try await read(&last, through, portion)
        } while Files.identity(path) != current
        let unwritten = pending.filter { $0.seq > last && $0.seq <= through }
        if !unwritten.isEmpty { try await portion(unwritten.flatMap { Array($0.text.utf8) }) }
    }

    private func read(_ last: inout Int, _ through: Int, _ portion: ([UInt8]) async throws -> Void) async throws {
        // Open both files before reading, so that a rotation in between does not lose lines.
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
            // The older file can belong to another run, whose sequence numbers are meaningless here.
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

    /// Reads on a separate thread. The API runs on one event loop, which a disk that hangs must not block.
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

    /// Keeps the lines from which the next agent determines the state of the guest.
    /// - Returns: the lines to keep; nil if the event does not change them.
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

    /// Applies an event's changes to the state.
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
    /// A message for people about a failed provisioning script.
    static func provisioningFault(mode: String, script: String, status: Int) -> String {
        "provisioning script \(mode)/\(script) ended with status \(status); its output is in the guest's "
            + "/var/log/hostagent-provision.log"
    }
}
