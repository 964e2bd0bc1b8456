import AgentAPI
import HostModel
import HostOS
import InstanceStore
import ServiceManagement

/// What operations are given by the program: the process's environment, its manager, and what only the composition root
/// can do: run an agent, and find and end guests.
package struct OperationContext: Sendable {
    /// What `start --foreground` asks the agent to do.
    package struct ForegroundRequest: Sendable {
        package var instance: Instance
        package var home: LimaHome
        package var environment: [String: String]
        /// Seconds; nil: no limit but the agent's own.
        package var startLimit: Int?
        package var sink: (@Sendable (EventRecord) -> Bool)?

        package init(instance: Instance, home: LimaHome, environment: [String: String], startLimit: Int?) {
            self.instance = instance
            self.home = home
            self.environment = environment
            self.startLimit = startLimit
        }
    }

    package var environment: [String: String]
    /// Whose process this is.
    package var account: Account
    package var manager: any ServiceManager
    package var runAgent: @Sendable (ForegroundRequest) async throws -> HostExitStatus
    /// Ends a guest whose agent died, without asking it when told to `force`; false when there is none. The caller
    /// holds the instance's lock.
    package var endOrphan: @Sendable (InstanceDirectory, _ force: Bool) async throws -> Bool
    /// The process of such a guest.
    package var orphan: @Sendable (InstanceDirectory) -> Int32?
    /// Throws what would keep an agent of this instance from beginning.
    package var check: @Sendable (Instance) throws -> Void
    /// Tries what accelerates guests on this host: nil where that cannot be tried.
    package var tryAccelerator: @Sendable () async -> Accelerator?
    /// What operations tell while they are under way.
    package var progress = OperationProgress.sentences

    package init(
        environment: [String: String], account: Account, manager: any ServiceManager,
        runAgent: @escaping @Sendable (ForegroundRequest) async throws -> HostExitStatus,
        endOrphan: @escaping @Sendable (InstanceDirectory, Bool) async throws -> Bool,
        orphan: @escaping @Sendable (InstanceDirectory) -> Int32?,
        check: @escaping @Sendable (Instance) throws -> Void,
        tryAccelerator: @escaping @Sendable () async -> Accelerator?
    ) {
        self.check = check
        self.tryAccelerator = tryAccelerator
        self.environment = environment
        self.account = account
        self.manager = manager
        self.runAgent = runAgent
        self.endOrphan = endOrphan
        self.orphan = orphan
    }

    /// The registration by which a manager starts this instance, nil where a person's own agent does.
    package func registration(of directory: InstanceDirectory) -> FoundRegistration? {
        registrations(of: directory).first(where: \.isOurs)
    }

    /// The registrations of an instance by whoever made them; those of another instance of this name are left out.
    package func registrations(of directory: InstanceDirectory) -> [FoundRegistration] {
        manager.registrations(of: directory.name).filter {
            !$0.isOurs || $0.isFor(home: directory.home, of: account)
        }
    }

    /// Repairs what commands that were killed left, and says so.
    package func sweep(_ directory: InstanceDirectory? = nil) {
        let home = try? home()
        let removed =
            (home.map(Leftovers.sweep) ?? []) + (directory.map(Leftovers.sweep) ?? [])
        let notes =
            removed.map { "removed \($0), which a command that was killed left" }
            + (directory.map { $0.clearWayForLock() + Leftovers.rescueDrafts($0) } ?? [])
        for note in notes { progress(.note(note)) }
    }

    package func home() throws(HostError) -> LimaHome { try LimaHome(environment: environment) }

    /// The directory of an existing instance, by the name a person typed.
    package func directory(_ name: String) throws(HostError) -> InstanceDirectory {
        try home().existing(InstanceName(name))
    }
}
