import AgentAPI
import Dispatch
import Foundation
import HostModel
import HostOS
import Synchronization

/// The agent's memory of what happened: numbers events, writes them to `ha.stdout.log`, and hands them to whoever
/// follows. What was emitted is read back from the file, so that the past costs no memory.
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
        /// Bytes of whole lines in the file.
        var size = 0
        var closed = false
        var writeFailed = false
    }

    private let path: String
    private let file: Descriptor
    private let startedMonotonic: Double
    private let state: Mutex<State>

    /// Begins a new run; the log of the last one is kept as `….1`.
    /// - Throws: `SystemCallError` when the log cannot be made.
    package init(path: String, sink: Sink?, phase: Phase = .preparing) throws(SystemCallError) {
        self.path = path
        run = UUID().uuidString.lowercased()
        startedAt = Date()
        startedMonotonic = HostProcess.monotonicSeconds
        if Files.kind(path) != nil { try Files.move(path, to: path + ".1") }
        // O_WRONLY | O_CREAT | O_APPEND
        file = try Descriptor(path: path, flags: Descriptor.appending)
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
        for await _ in drained {}
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
            do {
                try file.write(Array(line.utf8), subject: path)
                state.size += line.utf8.count
            } catch {
                // Part of a line may be there; a line is an event, so it goes, and its number with it.
                file.truncate(to: state.size)
                state.seq -= 1
                // A full disk must not stop the guest; it is said once, where a person looks.
                if !state.writeFailed { StandardStreams.error("hostagent: cannot write: \(error)\n") }
                state.writeFailed = true
            }
            deliver(record, &state)
            // A reader that does not keep up is let go; it can come back for what it missed.
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

    /// The lines of events `since + 1` to `through`, in portions. Line and number agree: an event is one line.
    package func past(since: Int, through: Int, _ portion: ([UInt8]) async throws -> Void) async throws {
        let reader = try Descriptor(path: path, flags: 0)
        var line = 1
        while line <= through {
            let bytes = try reader.read(upTo: 32_768, subject: path)
            if bytes.isEmpty { return }
            var wanted: [UInt8] = []
            for byte in bytes {
                if line > since, line <= through { wanted.append(byte) }
                if byte == UInt8(ascii: "\n") { line += 1 }
            }
            if !wanted.isEmpty { try await portion(wanted) }
        }
    }
}

extension EventLog.State {
    fileprivate func reportIfDrained() {
        if subscriptions == 0, sinkBacklog == 0 { drained?.finish() }
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
