import AgentAPI
import GuestDriver
import HostModel
import InstanceStore
import ServiceManagement
import Synchronization

/// The configuration by which an agent and its guest go. It can be read again while the guest runs; what counts at a
/// start only is then known to be pending.
final class LiveConfiguration: Sendable {
    private struct State {
        var instance: Instance
        /// Nil until somebody asks.
        var pending: [PendingChange]?
    }

    private let directory: InstanceDirectory
    private let origin: LaunchOrigin
    /// What the file says by which the manager started this agent.
    private let registered: @Sendable () -> RegisteredTerms
    /// A digest of the configuration that the guest was started with; nil if it is unknown.
    private let guestHas: [String: String]?
    private let state: Mutex<State>

    /// - Parameter survivor: a guest that was started before this agent, by another configuration perhaps.
    init(
        _ instance: Instance, survivor: Survivor?, origin: LaunchOrigin,
        registered: @escaping @Sendable () -> RegisteredTerms?
    ) {
        directory = instance.directory
        self.origin = origin
        // A file that hostagent did not make is assumed to agree with the settings at the start.
        let first = instance.settings
        self.registered = {
            registered()
                ?? RegisteredTerms(keepAlive: [first.keepAlive], after: first.after, before: first.before)
        }
        guestHas = survivor == nil ? instance.fixedAtStart : survivor?.guest.record.configurationDigests
        state = Mutex(State(instance: instance, pending: nil))
    }

    var settings: Settings { state.withLock { $0.instance.settings } }
    var forwards: [PortForward] { state.withLock { $0.instance.configuration.portForwards } }

    var pending: [PendingChange] {
        let (known, instance) = state.withLock { ($0.pending, $0.instance) }
        // The agent is not told when `autostart enable` was run, so pending keys of that kind are looked up again.
        if let known, !known.contains(where: { $0.until == .enable }) { return known }
        // The manager's files are read without the lock, which others wait for.
        let pending = pending(of: instance)
        state.withLock { $0.pending = pending }
        return pending
    }

    /// Reads the files again.
    /// - Returns: the keys that count from now on, and warnings about the files.
    /// - Throws: `HostError` when they have a mistake; everything stays as it was then.
    func reload() throws(HostError) -> (applied: [String], warnings: [String]) {
        let new = try Instance(directory)
        let pending = pending(of: new)
        return state.withLock { state in
            let old = state.instance
            var applied: [String] = []
            if new.configuration.portForwards != old.configuration.portForwards { applied.append("portForwards") }
            if new.configuration.message != old.configuration.message { applied.append("message") }
            if new.settings.stopGrace != old.settings.stopGrace { applied.append("stopGrace") }
            state.instance = new
            state.pending = pending
            let isPending = pending.contains { $0.key == "keepAlive" }
            if new.settings.keepAlive != old.settings.keepAlive, !isPending { applied.append("keepAlive") }
            return (applied, new.warnings)
        }
    }

    private func pending(of instance: Instance) -> [PendingChange] {
        let has = guestHas ?? instance.fixedAtStart
        let wanted = instance.fixedAtStart
        var keys = Set(has.keys).union(wanted.keys).filter { has[$0] != wanted[$0] }.map {
            PendingChange(key: $0, until: .restart)
        }
        if origin.managerKind != .none {
            let settings = instance.settings
            keys += registered().differences(
                keepAlive: settings.keepAlive, after: settings.after, before: settings.before
            ).map { PendingChange(key: $0, until: .enable) }
        }
        return keys.sorted()
    }
}
