import GuestAccess
import GuestDriver
import HostModel
import Synchronization

/// Keeps the forwarded ports of a guest as its configuration wants them. Only one change runs at a time.
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
        var wanted: [PortForward]
        var guest: (any Guest)?
        /// The last change.
        var change: Pending?
        var repair: Task<Void, Never>?
    }

    private let state: Mutex<State>
    private let log: EventLog
    private let bag: TaskBag

    init(_ wanted: [PortForward], log: EventLog, in bag: TaskBag) {
        state = Mutex(State(wanted: wanted))
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
        state.withLock { $0.guest = nil }
    }

    /// Waits for the change in progress, then opens missing ports and closes unwanted ones.
    func apply(_ wanted: [PortForward]) async -> Change {
        let pending = state.withLock { state in
            state.wanted = wanted
            return state.guest.map { apply(&state, to: $0) }
        }
        return await pending?.finished() ?? Change()
    }

    private func apply(_ state: inout State, to guest: any Guest) -> Pending {
        let wanted = state.wanted
        return enqueue(&state) { [worker = Worker(guest: guest, log: log)] in await worker.makeSo(wanted) }
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
            let wanted = state.wanted
            let change = enqueue(&state) { [worker = Worker(guest: guest, log: log)] in await worker.repair(wanted) }
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

    private struct Worker: Sendable {
        let guest: any Guest
        let log: EventLog

        /// A port that cannot be opened does not affect the others.
        func makeSo(_ configured: [PortForward]) async -> Change {
            let wanted = [guest.sshForward] + configured
            var result = Change()
            let there: Set<PortForward>
            do {
                there = try await guest.portForwards()
            } catch {
                log.emit(.warning("the guest's forwarded ports could not be looked at: \(error)"))
                return Change(complaints: ["\(error)"])
            }
            for forward in there.subtracting(wanted).sorted() {
                await change(forward, to: .stopped) { try await guest.close(forward) }
                result.hasChanged = true
            }
            for forward in wanted where !there.contains(forward) {
                let complaint = await change(forward, to: .forwarding) { try await guest.open(forward) }
                if let complaint { result.complaints.append(complaint) } else { result.hasChanged = true }
            }
            return result
        }

        func repair(_ wanted: [PortForward]) async -> Change {
            // A machine that does not answer is reported elsewhere.
            guard !Task.isCancelled, let there = try? await guest.portForwards() else { return Change() }
            // Repair the open ports first, because their host ports are not available to others.
            let kept = there.intersection([guest.sshForward] + wanted)
            for forward in kept.sorted() where forward.transport == .tcp {
                let isAny = forward.hostAddress == "0.0.0.0"
                let host = isAny ? "127.0.0.1" : forward.hostAddress
                let isDead = await PortProbe.isRefused(host: host, port: forward.hostPort)
                if Task.isCancelled { return Change() }
                if isDead { await openAnew(forward) }
            }
            return await makeSo(wanted)
        }

        private func openAnew(_ forward: PortForward) async {
            log.emit(.warning("\(forward): the port has lost its listener, it is opened again"))
            await change(forward, to: .stopped) { try await guest.close(forward) }
            await change(forward, to: .forwarding) { try await guest.open(forward) }
        }

        @discardableResult
        private func change(
            _ forward: PortForward, to state: PortForwardState, _ work: () async throws -> Void
        ) async -> String? {
            do {
                try await work()
                log.emit(.portForward(forward, state))
                return nil
            } catch {
                let reason = (error as? HostError)?.message ?? "\(error)"
                log.emit(.portForward(forward, .failed(reason: reason)))
                return "\(forward): \(reason)"
            }
        }
    }
}
