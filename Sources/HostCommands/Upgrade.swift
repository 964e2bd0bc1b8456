import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Upgrade: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Replaces a running agent with the program now on disk; the guest keeps running.")

    @OptionGroup var instance: InstanceArgument

    /// Seconds in which the new program must attach to its guest.
    private static let limit = 90

    func run() async throws {
        if let owner = try OwnerBoundary(instance.name, .current) {
            StandardStreams.output(try await owner.perform(["upgrade", instance.name]))
            return
        }
        let directory = try OperationContext.current.directory(instance.name)
        let client = try AgentClient.ofRunning(directory)
        let before = try await client.info()
        try before.requireAgent(of: directory)
        let answer = try await client.upgrade()
        let after = try await newRun(client, before, directory)
        StandardStreams.output(
            "\(directory.name): \(before.version) became \(after.version), process \(after.agentPID); "
                + "the guest, process \(after.guestPID ?? 0), ran on\n")
        if after.guestPID != before.guestPID || after.version != answer.version {
            throw HostError(
                .failed, "\(answer.version) was to attach to process \(before.guestPID ?? 0)",
                hint: "hostagent events \(directory.name) says what happened")
        }
    }

    /// Retries, because no event reports that a socket is bound again.
    private func newRun(_ client: AgentClient, _ before: AgentInfo, _ directory: InstanceDirectory) async throws
        -> AgentInfo
    {
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        let deadline = ContinuousClock.now + .seconds(Self.limit)
        while ContinuousClock.now < deadline {
            if let now = try? await client.info(), now.run != before.run,
                now.phase == before.phase || now.phase.isUsable
            {
                return now
            }
            guard try directory.isHeld() else {
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
