import GuestAccess
import GuestDriver
import HostModel
import Synchronization

/// Forwards over the guest's shared SSH connection.
package protocol GuestConnections: Sendable {
    /// What is forwarded now; nil while there is no connection.
    var forwards: Set<ConnectionForward>? { get }
    /// Has a value whenever the connection was made or has ended.
    var changes: AsyncStream<Void> { get }
    /// Why there can never be a connection; nil if there can.
    var obstacle: String? { get }
    /// - Throws: `HostError`, for instance when the host's port is taken.
    func open(_ forward: ConnectionForward) async throws
    func close(_ forward: ConnectionForward) async throws
}

/// Keeps the forwards of a guest as its configuration and its listeners want them. Only one change runs at a time.
package final class PortForwarding: GuestService {
    /// The result of a change.
    package struct Change: Sendable {
        package var hasChanged = false
        /// One sentence for each port that could not be opened.
        package var complaints: [String] = []
    }

    /// A change in progress.
    private struct Pending: Sendable {
        let task: Task<Void, Never>
        let result: Result

        final class Result: Sendable {
            let change = Mutex(Change())
        }

        func finished() async -> Change {
            await task.value
            return result.change.withLock { $0 }
        }
    }

    private struct State {
        var plan: ForwardPlan
        var listeners = GuestListeners()
        /// The guest has told, or will not tell, of all its listeners. Before that, what an earlier agent forwarded is kept.
        var knowsAll = true
        var guest: (any Guest)?
        /// What could not be opened. It is tried again when the configuration is read again or the host has slept, or when
        /// the guest's listener comes again.
        var failed: Set<Forward> = []
        /// The last change.
        var change: Pending?
        /// An update waits for the change in progress.
        var updateWaits = false
        var repair: Task<Void, Never>?
        var saidCut = false
        /// The guest was asked for its listeners within the last second.
        var hasAsked = false
        /// It is to be asked again when that second is over.
        var asksAgain = false
    }

    private let state: Mutex<State>
    private let connections: any GuestConnections
    private let pace = ForwardPace()
    private let log: EventLog
    private let bag: TaskBag

    init(_ plan: ForwardPlan, over connections: any GuestConnections, log: EventLog, in bag: TaskBag) {
        state = Mutex(State(plan: plan))
        self.connections = connections
        self.log = log
        self.bag = bag
    }

    func start(beside live: LiveGuest) {
        state.withLock { state in
            state.guest = live.guest
            _ = apply(&state, to: live.guest)
        }
    }

    /// Forgets the guest. A repair in progress ends after its current port.
    func stop() {
        cancelRepair()
        state.withLock { state in
            state.guest = nil
            state.failed = []
            state.listeners = GuestListeners()
            state.knowsAll = true
        }
    }

    // MARK: What the guest listens on

    /// The guest boots, so that nothing listens.
    func guestBoots() {
        state.withLock { state in
            state.listeners = GuestListeners()
            state.knowsAll = true
            update(&state)
        }
    }

    /// The guest was found running, and will tell what it listens on.
    func guestWillTell() {
        state.withLock { $0.knowsAll = false }
        bag.start { [self] in
            guard (try? await Task.sleep(for: .seconds(30))) != nil else { return }
            if state.withLock({ $0.knowsAll || $0.guest == nil }) { return }
            log.emit(
                .warning(
                    "the guest does not tell what it listens on, because an older program started it; new ports are "
                        + "forwarded after its next start"))
        }
    }

    /// Asks the guest for all its listeners, at most once a second.
    func ask(_ channel: any ChannelToGuest) {
        let isFirst = state.withLock { state in
            if state.hasAsked {
                state.asksAgain = true
                return false
            }
            state.hasAsked = true
            return true
        }
        guard isFirst else { return }
        channel.send(.reportPorts)
        bag.start { [self] in
            _ = try? await Task.sleep(for: .seconds(1))
            let again = state.withLock { state in
                defer { (state.hasAsked, state.asksAgain) = (false, false) }
                return state.asksAgain
            }
            if again, !Task.isCancelled { ask(channel) }
        }
    }

    func take(_ report: ListenerReport) {
        let isCut = state.withLock { state in
            var isNew = state.listeners.take(report)
            if case .port(let port, _) = report {
                // What could not be opened for an earlier program is tried again for this one.
                let failures = state.failed.filter { $0.guestPort == port }
                state.failed.subtract(failures)
                isNew = isNew || !failures.isEmpty
            }
            if case .all = report, !state.knowsAll {
                state.knowsAll = true
                isNew = true
            }
            if isNew { update(&state) }
            defer { state.saidCut = state.saidCut || state.listeners.isCut }
            return state.listeners.isCut && !state.saidCut
        }
        guard isCut else { return }
        log.emit(
            .warning("the guest listens on more than \(GuestListeners.maximum) sockets; the others are not forwarded"))
    }

    /// Follows the shared connection as long as the task runs.
    func followConnections() async {
        for await _ in connections.changes {
            state.withLock { state in
                // The connection may have held the port that another way could not get.
                state.failed = []
                update(&state)
            }
        }
    }

    /// Brings the forwards up to date. Of several updates that wait, one is made.
    private func update(_ state: inout State) {
        guard let guest = state.guest, !state.updateWaits else { return }
        state.updateWaits = true
        _ = enqueue(&state) { [self] in
            // What changes meanwhile is part of this update.
            try? await Task.sleep(for: Self.pause)
            self.state.withLock { $0.updateWaits = false }
            return await worker(for: guest).makeSo()
        }
    }

    /// Between two updates, so that a guest whose ports change all the time leaves the host some rest. It is part of the 100 ms
    /// in which a port shall appear.
    private static let pause = Duration.milliseconds(10)

    // MARK: Changes

    /// Waits for the change in progress, then opens missing ports and closes unwanted ones.
    func apply(_ plan: ForwardPlan) async -> Change {
        let pending = state.withLock { state in
            state.plan = plan
            return state.guest.map { apply(&state, to: $0) }
        }
        return await pending?.finished() ?? Change()
    }

    private func apply(_ state: inout State, to guest: any Guest) -> Pending {
        enqueue(&state) { [self] in
            self.state.withLock { $0.failed = [] }
            return await worker(for: guest).makeSo()
        }
    }

    private func worker(for guest: any Guest) -> Worker {
        Worker(guest: guest, connections: connections, pace: pace, log: log) { [self] in
            let (plan, listeners, isComplete) = state.withLock { ($0.plan, $0.listeners.current, $0.knowsAll) }
            let wanted = plan.wanted(
                listeners, network: guest.networkAddress, excluding: guest.sshForward.hostPort
            ).union([.network(guest.sshForward)])
            let failed = state.withLock { state in
                state.failed.formIntersection(wanted)
                return state.failed
            }
            return Goal(plan: plan, wanted: wanted, failed: failed, isComplete: isComplete)
        } failed: { [self] forward in
            state.withLock { _ = $0.failed.insert(forward) }
        } isOver: { [self] in
            Task.isCancelled || state.withLock { $0.guest == nil }
        }
    }

    /// Reopens forwarded ports that lost their listener while the host slept or the guest stood still.
    ///
    /// All forwarded ports use the guest's one network. The greeting of its SSH server proves that the guest's end
    /// works for all of them. A connection to each port proves the host's end. Forwarding of UDP cannot be checked from
    /// the host.
    func repair(of guest: any Guest) {
        cancelRepair()
        state.withLock { state in
            // A guest that was attached to already has its ports, so `start` may not have been called.
            state.guest = guest
            let change = enqueue(&state) { [self] in
                self.state.withLock { $0.failed = [] }
                return await worker(for: guest).repair()
            }
            state.repair = bag.start { [log] in
                _ = await withTaskCancellationHandler {
                    await change.finished()
                } onCancel: {
                    change.task.cancel()
                }
                if Task.isCancelled { return }
                if await !GuestLogin.greets(port: guest.sshForward.hostPort), !Task.isCancelled {
                    log.emit(.warning("the guest's SSH server does not answer; hostagent shell cannot reach it"))
                }
            }
        }
    }

    func cancelRepair() {
        state.withLock { state in
            state.repair?.cancel()
            state.repair = nil
        }
    }

    private func enqueue(_ state: inout State, _ work: @escaping @Sendable () async -> Change) -> Pending {
        let result = Pending.Result()
        let task = bag.start { [change = state.change] in
            _ = await change?.finished()
            let made = await work()
            result.change.withLock { $0 = made }
        }
        let pending = Pending(task: task, result: result)
        state.change = pending
        return pending
    }
}
