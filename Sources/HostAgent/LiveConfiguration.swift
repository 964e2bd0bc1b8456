import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers
import Synchronization

/// The configuration that an agent and its guest use. It can be read again while the guest runs. Changes that only take
/// effect at a start are then reported as pending.
final class LiveConfiguration: Sendable {
    private struct State {
        var instance: Instance { didSet { loaded = instance.digests.combined } }
        /// The digest of all keys of the instance.
        private(set) var loaded: String
        /// Nil until first requested.
        var pending: [PendingChange]?

        init(_ instance: Instance) {
            self.instance = instance
            loaded = instance.digests.combined
        }
    }

    private let directory: InstanceDirectory
    private let origin: LaunchOrigin
    /// The terms in the file with which the manager started this agent.
    private let registered: @Sendable () -> RegisteredTerms
    /// Digests of the configuration that the guest was started with; nil if unknown.
    private let guestHas: [String: String]?
    /// The configuration that this agent was started with.
    private let agentHas: KeyDigests
    private let state: Mutex<State>
    private let disk = DiskWork("configuration")

    /// - Parameter survivor: a guest that was started before this agent, perhaps with another configuration.
    init(
        _ instance: Instance, survivor: Survivor?, origin: LaunchOrigin,
        registered: @escaping @Sendable () -> RegisteredTerms?
    ) {
        directory = instance.directory
        self.origin = origin
        // Assume that a file not made by hostagent agrees with the settings at the start.
        let first = instance.settings
        self.registered = {
            registered()
                ?? RegisteredTerms(
                    keepAlive: [first.keepAlive], after: first.after, before: first.before, stopGrace: nil)
        }
        guestHas = survivor == nil ? instance.digests.fixedAtStart : survivor?.guest.record.configurationDigests
        agentHas = instance.digests
        state = Mutex(State(instance))
    }

    var settings: Settings { state.withLock { $0.instance.settings } }
    /// The actual time in seconds that a guest has to shut down, under the manager that started the agent. launchd ends an
    /// agent after the time in its own file, so that file is asked.
    var effectiveGrace: Int {
        let wanted = origin.effectiveGrace(settings)
        return origin.managerKind == .launchd ? min(wanted, registered().stopGrace ?? wanted) : wanted
    }
    var forwards: ForwardPlan {
        state.withLock { $0.instance.configuration.portForwards }.located(in: directory.path)
    }

    var mounts: [Mount] { state.withLock { $0.instance.configuration.mounts } }

    var inUse: AgentInfo.ConfigurationInUse {
        .init(loaded: state.withLock { $0.loaded }, startedWith: guestHas)
    }

    var pending: [PendingChange] {
        let (known, instance) = state.withLock { ($0.pending, $0.instance) }
        // The agent is not notified of `autostart enable`, so these keys have to be checked again.
        if let known, !known.contains(where: { $0.until == .enable }) { return known }
        // Read the manager's files without holding the lock, which others wait for.
        let pending = pending(of: instance)
        state.withLock { $0.pending = pending }
        return pending
    }

    /// Reads the files again. A disk that hangs delays the answer, and nothing else.
    /// - Returns: the keys whose new values are now in effect, and warnings about the files.
    /// - Throws: `HostError` if the files contain a mistake. Nothing changes then.
    func reload() async throws(HostError) -> (applied: [String], warnings: [String]) {
        try await disk.run { () throws(HostError) in try self.readAgain() }
    }

    /// One at a time: of two reloads at once, the newer files stay in force.
    private func readAgain() throws(HostError) -> (applied: [String], warnings: [String]) {
        let new = try Instance(directory)
        let pending = pending(of: new)
        return state.withLock { state in
            let applied = new.digests.changes(since: state.instance.digests, where: \.isLive)
                .subtracting(pending.map(\.key))
            state.instance = new
            state.pending = pending
            return (applied.sorted(), new.warnings)
        }
    }

    private func pending(of instance: Instance) -> [PendingChange] {
        let ofGuest = guestHas.map { instance.digests.changes(sinceStart: $0) } ?? []
        let ofAgent = instance.digests.changes(since: agentHas) { $0 == .agentStart }
        var keys = ofGuest.union(ofAgent).map { PendingChange(key: $0, until: .restart) }
        keys += instance.digests.changesOfCreation(since: agentHas).map { PendingChange(key: $0, until: .creation) }
        if origin.managerKind != .none {
            let settings = instance.settings
            keys += registered().differences(
                keepAlive: settings.keepAlive, after: settings.after, before: settings.before,
                stopGrace: settings.stopGrace
            ).map { PendingChange(key: $0, until: .enable) }
        }
        return keys.sorted()
    }
}
