import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

struct Upgrade: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Replaces a running agent with the program now on disk; the guest keeps running.")

    @OptionGroup var instance: InstanceArgument

    /// Seconds in which the new program must attach to its guest.
    private static let limit = 90
    /// The time in which a manager that loads the registration anew must start the next agent.
    private static let handover = Duration.seconds(20)

    func run() async throws {
        let context = OperationContext.current
        if let owner = try OwnerBoundary(instance.name, context) {
            StandardStreams.output(try await owner.perform(["upgrade", instance.name]))
            // The owner's process could not tell the machine's manager.
            if let registration = owner.machineRegistration(of: try InstanceName(instance.name)) {
                try await context.manager.reload(registration)
            }
            return
        }
        let directory = try context.directory(instance.name)
        let client = try AgentClient.ofRunning(directory)
        let before = try await client.info()
        try before.requireAgent(of: directory)
        let answer = try await client.upgrade()
        var after = try await newRun(client, before, directory, gap: .zero)
        let registrations = after.manager.kind == .launchd ? context.registrations(of: directory) : []
        if let registration = registrations.first(where: { $0.identifier == after.autoStartedIdentifier }) {
            after = try await reloaded(registration, client, after, directory, context)
        }
        StandardStreams.output(
            "\(directory.name): \(before.version) became \(after.version), process \(after.agentPID); "
                + "the guest, process \(after.guestPID ?? 0), ran on\n")
        if after.guestPID != before.guestPID || after.version != answer.version {
            throw HostError(
                .failed, "\(answer.version) was to attach to process \(before.guestPID ?? 0)",
                hint: "hostagent events \(directory.name) says what happened")
        }
    }

    /// launchd starts the program that it knew when it loaded the job. It has to load the new one.
    private func reloaded(
        _ registration: FoundRegistration, _ client: AgentClient, _ before: AgentInfo, _ directory: InstanceDirectory,
        _ context: OperationContext
    ) async throws -> AgentInfo {
        do {
            try await context.manager.reload(registration)
        } catch let error as HostError {
            let condition = registration.scope == .system ? " --condition=boot" : ""
            StandardStreams.error(
                "hostagent: warning: the agent was upgraded, but launchd may refuse to start the new program later: "
                    + "\(error.message)\n  hostagent autostart enable\(condition) \(directory.name)\n")
            return before
        }
        return try await newRun(client, before, directory, gap: Self.handover)
    }

    /// Retries, because no event reports that a socket is bound again.
    /// - Parameter gap: the time in which no agent need hold the instance.
    private func newRun(
        _ client: AgentClient, _ before: AgentInfo, _ directory: InstanceDirectory, gap: Duration
    ) async throws -> AgentInfo {
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        var heldLast = ContinuousClock.now
        let deadline = ContinuousClock.now + .seconds(Self.limit)
        while ContinuousClock.now < deadline {
            if let now = try? await client.info(), now.run != before.run,
                now.phase == before.phase || now.phase.isUsable
            {
                return now
            }
            if try directory.isHeld() {
                heldLast = .now
            } else if ContinuousClock.now - heldLast > gap {
                throw HostError(
                    .failed, "the new agent of \"\(directory.name)\" ended",
                    hint: "hostagent events \(directory.name) says why")
            }
            try await backoff.pause()
        }
        throw HostError(
            .failed, "the agent of \"\(directory.name)\" was not replaced within \(Self.limit) s",
            hint: "hostagent events \(directory.name) says why; the guest runs on")
    }
}
