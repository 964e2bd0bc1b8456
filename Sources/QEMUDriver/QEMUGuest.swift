import GuestDriver
import HostModel
import HostOS
import NIOCore
import Synchronization

/// A live QEMU process and its monitor.
final class QEMUGuest: Guest {
    var record: GuestRecord { current.value.withLock { $0 } }
    let events: AsyncStream<GuestEvent>

    private let monitor: QMPConnection
    let sshForward: PortForward
    let networkAddress: IPAddress?
    private let current: CurrentRecord
    private let watch: Task<Void, Never>
    private let states: StateReader
    private let jobs: QMPJobs
    /// QEMU works on a snapshot and answers nothing else meanwhile.
    private let isBusy = Atomic(false)
    private let continuation: AsyncStream<GuestEvent>.Continuation

    /// - Parameters:
    ///   - finder: has the guest's files.
    ///   - withdrawVerdict: withdraws the verdict of the accelerator's probe; nil when a person chose the accelerator.
    init(
        _ record: GuestRecord, monitor: QMPConnection, finder: QEMUFinder,
        withdrawVerdict: (@Sendable () -> Void)?
    ) {
        let current = CurrentRecord(record)
        self.current = current
        // A record may be lost. The machine itself tells what has its network.
        let hasPasst = GuestNetwork.isElsewhere(inArguments: record.process.arguments)
        networkAddress = hasPasst ? nil : GuestNetwork.guestAddress
        let identity = record.process
        sshForward = PortForward(.tcp, hostAddress: "127.0.0.1", hostPort: record.sshLocalPort, guestPort: 22)
        self.monitor = monitor
        let (stream, continuation) = AsyncStream.makeStream(of: GuestEvent.self)
        events = stream
        self.continuation = continuation
        let states = StateReader(accelerator: record.accelerator, withdrawVerdict: withdrawVerdict)
        self.states = states
        let jobs = QMPJobs()
        self.jobs = jobs
        watch = Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    defer { jobs.close() }
                    for await message in monitor.events {
                        if case .job(let id, let status) = message { jobs.changed(id, to: status) }
                        if let event = await Self.translate(message, monitor, states) { continuation.yield(event) }
                    }
                }
                group.addTask {
                    let end = await identity.waitUntilEnded()
                    // Everything the monitor reported came before the end.
                    monitor.close()
                    let said = finder.lastComplaint()
                    let how = end?.description ?? "is gone"
                    let reason = said.isEmpty ? how : "\(how), saying: \(said)"
                    continuation.yield(.ended(reason: reason, crashed: end?.isCrash ?? false))
                }
                if hasPasst {
                    group.addTask {
                        await PasstNetwork(finder.paths, of: record).follow(record.passt, of: identity) { helper in
                            try finder.save(current.replacing(helper))
                        } tell: {
                            continuation.yield($0)
                        }
                    }
                }
                await group.waitForAll()
            }
            continuation.finish()
        }
    }

    deinit { watch.cancel() }

    /// The record of the guest, whose helpers may be replaced.
    private final class CurrentRecord: Sendable {
        let value: Mutex<GuestRecord>

        init(_ record: GuestRecord) { value = Mutex(record) }

        func replacing(_ helper: HelperRecord) -> GuestRecord {
            value.withLock { record in
                record.helpers = (record.helpers ?? []).filter { $0.name != helper.name } + [helper]
                return record
            }
        }
    }

    private static func translate(_ message: QMPMessage, _ monitor: QMPConnection, _ states: StateReader) async
        -> GuestEvent?
    {
        guard case .event(let name, let guest, let reason) = message else { return nil }
        switch name {
        // SHUTDOWN (reasons: QAPI ShutdownCause) counts only if the guest did it. Panics have an event of their own.
        case "SHUTDOWN": return guest && reason != "guest-panic" ? .poweredOff : nil
        case "RESET": return guest ? .rebooted : nil
        case "GUEST_PANICKED": return .panicked
        case "RESUME": return .resumed
        case "STOP":
            // QEMU says only when asked why it stopped. If it does not answer now, the next heartbeat finds out.
            guard let state = try? await monitor.execute("query-status") else { return nil }
            return states.event(state)
        default: return nil
        }
    }

    /// Translates a state of the machine (QAPI RunState) that is not `running`.
    private struct StateReader: Sendable {
        let accelerator: Accelerator
        let withdrawVerdict: (@Sendable () -> Void)?

        func event(_ state: String) -> GuestEvent? {
            switch state {
            case "internal-error":
                let reason = "QEMU stopped the machine because of an internal error of \(accelerator.rawValue)"
                guard let withdrawVerdict, accelerator != .tcg else { return .machineStopped(reason: reason) }
                withdrawVerdict()
                return .acceleratorFailed(reason: reason + "; it is booted again with software emulation")
            case "io-error": return .stalled(reason: QEMUGuest.stallReason)
            case "guest-panicked": return .panicked
            case "shutdown": return .poweredOff
            case "restore-vm":
                return .machineStopped(
                    reason: "a snapshot could not be loaded completely, and the machine stands still")
            default: return nil
            }
        }
    }

    private static let stallReason =
        "the guest's disk cannot be written, and the guest waits for it: make room on the host's disk"

    func checkAlive() async throws -> String? {
        // The work on a snapshot has a limit of its own.
        if isBusy.load(ordering: .relaxed) { return nil }
        do {
            let state = try await monitor.execute("query-status") ?? ""
            guard let event = states.event(state) else { return nil }
            guard case .stalled(let reason) = event else {
                // The event may have been sent before. The lifecycle takes it only once.
                continuation.yield(event)
                return nil
            }
            _ = try await monitor.execute("cont")
            return reason
        } catch {
            throw HostError(.failed, "QEMU does not answer: \(error)")
        }
    }

    func secondsIdle() async throws -> Double? {
        BlockStatistics.idleSeconds(inListing: try await say("info blockstats"))
    }

    /// Runs a line in the human monitor and returns its answer. Errors are answered as text too.
    private func say(_ line: String) async throws -> String {
        try await monitor.execute("human-monitor-command", ["command-line": line]) ?? ""
    }

    func pressPowerButton() async throws { _ = try await monitor.execute("system_powerdown") }

    func quit() async throws {
        do {
            _ = try await monitor.execute("quit")
        } catch QMPConnection.Failure.closed {
            // QEMU ended before its answer was read.
        }
    }

    func kill() { record.process.signal(9) }

    // MARK: Snapshots

    func snapshots() async throws -> [DiskSnapshot] {
        do {
            return try await QEMUSnapshots(monitor: monitor, jobs: jobs).list()
        } catch {
            throw HostError(.failed, "QEMU did not list the snapshots: \(error)")
        }
    }

    func change(_ snapshot: SnapshotChange, willChange: @escaping @Sendable () throws -> Void) async throws {
        // Whoever asked may go away. QEMU goes on, so the work is awaited in a task of its own.
        try await Task { try await carryOut(snapshot, willChange) }.value
    }

    private func carryOut(_ snapshot: SnapshotChange, _ willChange: () throws -> Void) async throws {
        var hasBegun = false
        isBusy.store(true, ordering: .releasing)
        let failure: HostError?
        do {
            try await QEMUSnapshots(monitor: monitor, jobs: jobs).perform(snapshot) {
                try willChange()
                hasBegun = true
            }
            failure = nil
        } catch {
            failure = error as? HostError ?? HostError(.failed, "\(error)")
        }
        isBusy.store(false, ordering: .releasing)
        guard let failure else { return }
        guard snapshot.verb == .apply, hasBegun, (try? await monitor.execute("query-status")) != "running" else {
            throw failure
        }
        // This sends the event.
        _ = try? await checkAlive()
        throw GuestStandsStill(
            HostError(
                .failed,
                "\(failure.message); the disks have gone back, and the guest cannot go on from them",
                hint: "stop the instance, then apply the snapshot to its disks"))
    }

    // MARK: Ports

    /// QEMU itself lists the forwards, so an agent that attaches needs no record of them.
    func portForwards() async throws -> Set<PortForward> {
        guard networkAddress != nil else { return [sshForward] }
        return UserNetwork.forwards(inListing: try await say("info usernet"))
    }

    func open(_ forward: PortForward) async throws {
        try requireOwnNetwork()
        let rule = UserNetwork.rule(forward, to: forward.guestPort)
        try await usernet("hostfwd_add \(GuestNetwork.id) \(rule)", succeeds: "")
    }

    func close(_ forward: PortForward) async throws {
        try requireOwnNetwork()
        let rule = UserNetwork.rule(forward, to: nil)
        try await usernet("hostfwd_remove \(GuestNetwork.id) \(rule)", succeeds: "removed")
    }

    private func requireOwnNetwork() throws(HostError) {
        guard networkAddress == nil else { return }
        throw HostError(
            .unavailable, "passt opens a port only when it starts", hint: "UDP needs network: user in hostagent.yaml")
    }

    private func usernet(_ line: String, succeeds word: String) async throws {
        let said = try await say(line).trimmed
        guard word.isEmpty ? said.isEmpty : said.contains(word) else {
            throw HostError(.unavailable, said.isEmpty ? "QEMU said nothing" : said)
        }
    }
}
