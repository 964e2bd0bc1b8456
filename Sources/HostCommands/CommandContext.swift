import AgentAPI
import HostModel
import HostOS
import InstanceStore

/// What commands are given by the program: the process's environment, and the one thing that is not the command
/// line's business, running an agent.
package struct CommandContext: Sendable {
    /// What `start --foreground` asks the agent to do.
    package struct ForegroundRequest: Sendable {
        package var instance: Instance
        package var home: LimaHome
        package var environment: [String: String]
        /// Seconds; nil: no limit but the agent's own.
        package var startLimit: Int?
        package var sink: (@Sendable (EventRecord) -> Bool)?
    }

    package var environment: [String: String]
    package var runAgent: @Sendable (ForegroundRequest) async throws -> HostExitStatus
    /// Ends a guest whose agent died, without asking it when told to `force`; false when there is none. The caller
    /// holds the instance's lock.
    package var endOrphan: @Sendable (InstanceDirectory, _ force: Bool) async throws -> Bool
    /// The process of such a guest.
    package var orphan: @Sendable (InstanceDirectory) -> Int32?

    package init(
        environment: [String: String],
        runAgent: @escaping @Sendable (ForegroundRequest) async throws -> HostExitStatus,
        endOrphan: @escaping @Sendable (InstanceDirectory, Bool) async throws -> Bool,
        orphan: @escaping @Sendable (InstanceDirectory) -> Int32?
    ) {
        self.environment = environment
        self.runAgent = runAgent
        self.endOrphan = endOrphan
        self.orphan = orphan
    }

    /// The context of the commands that run in this task.
    @TaskLocal package static var current = CommandContext(
        environment: [:],
        runAgent: { _ in throw HostError(.failed, "this program runs no agents") },
        endOrphan: { _, _ in false }, orphan: { _ in nil })

    package func home() throws(HostError) -> LimaHome { try LimaHome(environment: environment) }

    /// The directory of an existing instance, by the name a person typed.
    package func directory(_ name: String) throws(HostError) -> InstanceDirectory {
        try home().existing(InstanceName(name))
    }
}
