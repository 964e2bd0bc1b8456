import AgentAPI
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers

/// What operations need from the program: the environment, the service manager, and what only the composition root can
/// provide: running an agent, and finding and ending guests.
package struct OperationContext: Sendable {
    /// The request of `start --foreground` to the agent.
    package struct ForegroundRequest: Sendable {
        package var instance: Instance
        package var home: LimaHome
        package var environment: [String: String]
        /// Seconds; nil means that only the agent's own limits apply.
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
    /// The account of this process.
    package var account: Account
    package var manager: any ServiceManager
    /// Gets the files that instances and templates name.
    package var sourceFiles: any SourceFileProvider
    package var runAgent: @Sendable (ForegroundRequest) async throws -> HostExitStatus
    /// Ends a guest whose agent died. With `force` the guest is not asked first. False when there is no such guest. The
    /// caller holds the instance's lock.
    package var endOrphan: @Sendable (InstanceDirectory, _ force: Bool) async throws -> Bool
    /// The process of a guest whose agent died.
    package var orphan: @Sendable (InstanceDirectory) -> Int32?
    /// Throws the reason why an agent of this instance could not begin.
    package var check: @Sendable (Instance) throws -> Void
    /// Tests what accelerates guests on this host; nil where no test is possible.
    package var tryAccelerator: @Sendable () async -> Accelerator?
    /// Whether commands may ask the person questions on a terminal.
    package var mayAsk = true
    /// Receives the progress of operations.
    package var progress = OperationProgress.sentences

    package init(
        environment: [String: String], account: Account, manager: any ServiceManager,
        sourceFiles: any SourceFileProvider,
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
        self.sourceFiles = sourceFiles
        self.runAgent = runAgent
        self.endOrphan = endOrphan
        self.orphan = orphan
    }

    /// The registration by which a manager starts this instance; nil if a person starts its agent.
    package func registration(of directory: InstanceDirectory) -> FoundRegistration? {
        registrations(of: directory).first(where: \.isOurs)
    }

    /// The registrations of an instance, whoever made them. Those of another instance with this name are left out.
    package func registrations(of directory: InstanceDirectory) -> [FoundRegistration] {
        manager.registrations(of: directory.name).filter {
            !$0.isOurs || $0.isFor(home: directory.home, of: account)
        }
    }

    /// Repairs what killed commands left behind, and reports it.
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

    /// The directory of an existing instance with this name.
    package func directory(_ name: String) throws(HostError) -> InstanceDirectory {
        try home().existing(InstanceName(name))
    }
}
