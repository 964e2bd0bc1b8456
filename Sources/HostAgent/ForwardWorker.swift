import GuestAccess
import GuestDriver
import HostModel
import Synchronization

extension PortForwarding {
    /// What shall be forwarded.
    struct Goal: Sendable {
        var plan: ForwardPlan
        var wanted: Set<Forward>
        /// What is not tried again.
        var failed: Set<Forward>
        /// Whether nothing else shall be forwarded.
        var isComplete: Bool
    }

    /// Makes one change after the other.
    struct Worker: Sendable {
        let guest: any Guest
        let connections: any GuestConnections
        let pace: ForwardPace
        let log: EventLog
        /// The goal at this moment.
        let goal: @Sendable () -> Goal
        let failed: @Sendable (Forward) -> Void
        /// Whether the guest has gone, and nothing is to be changed any more.
        let isOver: @Sendable () -> Bool

        /// A port that cannot be opened does not affect the others. Ports are closed first, because the host's port may be
        /// wanted by another way.
        func makeSo() async -> Change {
            let goal = goal()
            var result = Change()
            var there: Set<Forward>
            do {
                there = Set(try await guest.portForwards().map(Forward.network))
            } catch {
                if isOver() { return result }
                log.emit(.warning("the guest's forwarded ports could not be looked at: \(error)"))
                return Change(complaints: ["\(error)"])
            }
            there.formUnion((connections.forwards ?? []).map(Forward.connection))
            for forward in there.subtracting(goal.wanted).sorted()
            where goal.isComplete || !isPossible(forward, goal.plan) {
                if isOver() { return result }
                let complaint = await change(forward, to: .stopped)
                if let complaint { result.complaints.append(complaint) } else { result.hasChanged = true }
            }
            for forward in goal.wanted.subtracting(there).subtracting(goal.failed).sorted() {
                if isOver() { return result }
                if case .connection = forward, connections.forwards == nil {
                    // Its return is an update of its own.
                    if let obstacle = connections.obstacle, pace.isFirstMention(of: obstacle) {
                        log.emit(.warning("not forwarded: \(forward), and others like it: \(obstacle)"))
                    }
                    continue
                }
                let complaint = await change(forward, to: .forwarding)
                if let complaint { result.complaints.append(complaint) } else { result.hasChanged = true }
            }
            return result
        }

        /// Whether the guest may listen on something for which the plan wants this. While it has not told all, the rest is kept.
        private func isPossible(_ forward: Forward, _ plan: ForwardPlan) -> Bool {
            let listener: GuestListener
            switch forward {
            case .network(let forward): listener = GuestListener(.any, forward.guestPort)
            case .connection(let forward):
                guard let guest = IPEndpoint(forward.guest) else { return false }
                listener = GuestListener(guest.address, guest.port)
            }
            let wanted = plan.wanted([listener], network: guest.networkAddress, excluding: guest.sshForward.hostPort)
            return wanted.contains(forward)
        }

        func repair() async -> Change {
            // A machine that does not answer is reported elsewhere.
            guard !Task.isCancelled, let there = try? await guest.portForwards() else { return Change() }
            let wanted = goal().wanted
            // Repair the open ports first, because their host ports are not available to others.
            for forward in there.sorted()
            where guest.networkAddress != nil && forward.transport == .tcp && wanted.contains(.network(forward)) {
                let isAny = forward.hostAddress == "0.0.0.0"
                let host = isAny ? "127.0.0.1" : forward.hostAddress
                let isDead = await PortProbe.isRefused(host: host, port: forward.hostPort)
                if Task.isCancelled { return Change() }
                if isDead { await openAnew(forward) }
            }
            return await makeSo()
        }

        private func openAnew(_ forward: PortForward) async {
            log.emit(.warning("\(forward): the port has lost its listener, it is opened again"))
            await change(.network(forward), to: .stopped)
            await change(.network(forward), to: .forwarding)
        }

        /// - Returns: one sentence if that fails.
        @discardableResult
        private func change(_ forward: Forward, to state: PortForwardState) async -> String? {
            if await pace.waits() {
                log.emit(
                    .warning("the guest's ports change faster than they are forwarded; the host follows more slowly"))
            }
            do {
                switch (forward, state) {
                case (.network(let forward), .stopped): try await guest.close(forward)
                case (.network(let forward), _): try await guest.open(forward)
                case (.connection(let forward), .stopped): try await connections.close(forward)
                case (.connection(let forward), _): try await connections.open(forward)
                }
                log.emit(.portForward(forward, state))
                return nil
            } catch {
                failed(forward)
                let reason = (error as? HostError)?.message ?? "\(error)"
                log.emit(.portForward(forward, .failed(reason: reason)))
                return "\(forward): \(reason)"
            }
        }
    }
}

/// Bounds how often forwards change, because each change costs the host some work and a line of its log.
final class ForwardPace: Sendable {
    /// Changes that are made without waiting: more than one configuration can name.
    private static let burst = 1100.0
    /// Changes a second beyond that.
    private static let rate = 50.0

    private struct State {
        var allowance = ForwardPace.burst
        var last = ContinuousClock.now
        var hasWaited = false
        var mentioned: Set<String> = []
    }
    private let state = Mutex(State())

    /// Whether a reason was not mentioned before.
    func isFirstMention(of reason: String) -> Bool { state.withLock { $0.mentioned.insert(reason).inserted } }

    /// Waits until the next change may be made.
    /// - Returns: true if it waited for the first time.
    func waits() async -> Bool {
        let (pause, isFirst) = state.withLock { state -> (Duration, Bool) in
            let now = ContinuousClock.now
            let passed = (now - state.last) / .seconds(1)
            state.last = now
            state.allowance = min(Self.burst, state.allowance + passed * Self.rate) - 1
            guard state.allowance < 0 else { return (.zero, false) }
            defer { state.hasWaited = true }
            return (.seconds(-state.allowance / Self.rate), !state.hasWaited)
        }
        guard pause > .zero else { return false }
        // A cancelled task ends soon, and must not wait.
        try? await Task.sleep(for: pause)
        return isFirst
    }
}
