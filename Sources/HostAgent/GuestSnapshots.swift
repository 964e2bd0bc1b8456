import GuestDriver
import HostModel
import InstanceStore
import ServiceManagers
import Synchronization

/// The snapshots of the running guest, worked on one at a time.
final class GuestSnapshots: GuestService {
    private struct State {
        var guest: (any Guest)?
        var isBusy = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func start(beside live: LiveGuest) { state.withLock { $0.guest = live.guest } }

    func stop() { state.withLock { $0.guest = nil } }

    /// A change is under way.
    var isBusy: Bool { state.withLock { $0.isBusy } }

    /// Waits until no change is under way.
    func untilIdle() async {
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                if state.isBusy { state.waiting.append(continuation) }
                return !state.isBusy
            }
            if isIdle { continuation.resume() }
        }
    }

    /// Begins a change.
    /// - Returns: the guest to change. `end()` has to follow.
    /// - Throws: `HostError` with `.held` if there is no guest, or another change is under way.
    func begin() throws(HostError) -> any Guest {
        try state.withLock { (state) throws(HostError) in
            guard !state.isBusy else { throw Self.busy }
            guard let guest = state.guest else { throw Self.noGuest }
            state.isBusy = true
            return guest
        }
    }

    func end() {
        let waiting = state.withLock { state in
            defer { (state.isBusy, state.waiting) = (false, []) }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// - Throws: `HostError` if there is no guest or it does not answer.
    func list() async throws(HostError) -> [DiskSnapshot] {
        let (guest, isBusy) = state.withLock { ($0.guest, $0.isBusy) }
        if isBusy { throw Self.busy }
        guard let guest else { throw Self.noGuest }
        do {
            return try await guest.snapshots()
        } catch {
            throw error as? HostError ?? HostError(.failed, "\(error)")
        }
    }

    private static var busy: HostError {
        HostError(.held, "a snapshot is being worked on", hint: "try again when that is done")
    }
    private static var noGuest: HostError {
        HostError(.held, "no guest runs just now", hint: "hostagent info shows why")
    }
}

extension Supervisor {
    /// Works on a snapshot of the running guest.
    /// - Throws: `HostError` with the reason why it was not done.
    package func change(_ change: SnapshotChange) async throws(HostError) {
        let phase = phase
        guard phase.isUsable else {
            throw HostError(
                .held, "the guest is \(phase.rawValue)",
                hint: "a snapshot needs a guest that runs, or a stopped instance")
        }
        if change.verb != .delete, mounts.machineShares {
            throw HostError(
                .unavailable, "a running guest that has directories by virtiofs cannot be saved (QEMU)",
                hint: "stop it first, or set mountType: reverse-sshfs")
        }
        // From here on, a stop waits and an upgrade is refused.
        let guest = try snapshots.begin()
        defer { snapshots.end() }
        let machines = SnapshotMachines(parts.claim.directory)
        let machine = SnapshotMachines.machine(
            startedWith: guest.record.configurationDigests, accelerator: guest.accelerator.rawValue,
            mountPorts: mounts.ports)
        if change.verb == .apply { try machines.requireSame(machine, for: change.tag) }
        let journal = SnapshotJournal(directory: parts.claim.directory.path)
        var isWhole = true
        if change.verb == .apply { await mounts.suspend() }
        let failure: HostError?
        do {
            try await guest.change(change) { [access = parts.access, claim = parts.claim] in
                guard claim.isIntact else {
                    throw HostError(.held, "the instance's directory belongs to another agent")
                }
                try journal.begin(change, in: guest.record.process)
                // Connections of the state to come are not those of now, and its disks are not those that were set up last.
                if change.verb == .apply { access.prepareForOtherState() }
            }
            failure = nil
        } catch let error as GuestStandsStill {
            isWhole = false
            failure = error.reason
        } catch {
            failure = error as? HostError ?? HostError(.failed, "\(error)")
        }
        if change.verb == .apply { mounts.resume() }
        if isWhole, parts.claim.isIntact { journal.end() }
        if let failure {
            log.emit(
                .warning(
                    "the snapshot \(InstanceName.quoted(change.tag.text)) was not \(change.verb.past): \(failure.message)"
                ))
        } else {
            log.emit(.snapshot(change))
            if change.verb != .apply { remember(change.verb == .create ? machine : nil, for: change.tag, machines) }
            // The guest stood still, or is of another time.
            if change.verb != .delete {
                clock.tell()
                // The guest listens on what it did then, and no event of it says so.
                if let channel = live?.channel { forwarding.ask(channel) }
            }
        }
        if change.verb == .apply, self.phase.isUsable { parts.access.follow(self.phase) }
        if let failure { throw failure }
    }

    /// A machine that works on a snapshot hears no request, and would be killed in the middle of its disks.
    nonisolated func stopAfterSnapshot() {
        log.emit(.warning("a snapshot is being worked on; the stop begins when that is done"))
        parts.notifier.extendTimeout(seconds: SnapshotJournal.limit)
        Task { [snapshots, enqueue] in
            await snapshots.untilIdle()
            enqueue.yield(.input(.stopRequested(force: false)))
        }
    }

    private func remember(_ machine: [String: String]?, for tag: SnapshotTag, _ machines: SnapshotMachines) {
        guard parts.claim.isIntact else { return }
        do {
            try machines.record(machine, for: tag.text)
        } catch {
            log.emit(.warning("it is not on record of which machine the snapshot \(tag) is: \(error)"))
        }
    }
}
