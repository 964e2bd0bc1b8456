import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceStore

struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Has a running instance read its configuration again, and says what waits for its next start.")

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        if let owner = try OwnerBoundary(instance.name, .current) {
            return try await owner.perform(["reload", instance.name])
        }
        let directory = try CommandContext.current.directory(instance.name)
        // Mistakes are said here, all at once.
        _ = try Instance(directory)
        let client = try AgentClient.ofRunning(directory)
        // An agent that is stopped or hung is known by its silence here, not after the time that a reload may take.
        try await client.info().requireAgent(of: directory)
        let answer = try await client.reload()
        for warning in answer.warnings { StandardStreams.error("hostagent: warning: \(warning)\n") }
        StandardStreams.output(Self.text(answer, directory.name))
    }

    static func text(_ answer: ReloadBody, _ name: InstanceName) -> String {
        let rows: [(what: String, keys: [String])] = [
            ("applied", answer.applied),
            ("pending until hostagent restart \(name)", answer.pending.filter { $0.until == .restart }.map(\.key)),
            (
                "pending until hostagent autostart enable \(name)",
                answer.pending.filter { $0.until == .enable }.map(\.key)
            ),
        ]
        let lines = rows.filter { !$0.keys.isEmpty }.map { "\($0.what): \($0.keys.joined(separator: ", "))\n" }
        return lines.isEmpty ? "nothing has changed\n" : lines.joined()
    }
}

extension AgentInfo {
    /// - Throws: `HostError` with `.held` where this is the agent of another directory, which shares files with this one.
    func requireAgent(of directory: InstanceDirectory) throws(HostError) {
        guard let dir, !Files.isSame(dir, directory.path) else { return }
        throw HostError(
            .held, "\(directory.path) shares its lock and its socket with \(dir), whose agent answers there",
            hint: "copy the directory without hard links (cp -a, not cp -al), or work on \(dir)")
    }
}

extension AgentClient {
    /// The client of an instance's agent.
    /// - Throws: `HostError` with `.unavailable` where there is none.
    static func ofRunning(_ directory: InstanceDirectory) throws -> AgentClient {
        guard try directory.isHeld() else {
            throw HostError(
                .unavailable, "the instance \"\(directory.name)\" has no running agent",
                hint: "hostagent start \(directory.name) starts one; hostagent list shows the instance's state")
        }
        return AgentClient(socket: directory.agentSocket)
    }

    /// What the agent says of itself. One that is just dying, beginning or becoming another version holds its lock and
    /// does not answer for a moment.
    /// - Returns: nil when nobody holds the instance any more.
    /// - Throws: `HostError` with `.held` where it stays silent.
    func info(holding directory: InstanceDirectory, within patience: Duration) async throws -> AgentInfo? {
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        let deadline = ContinuousClock.now + patience
        while true {
            do {
                return try await info()
            } catch {
                guard try directory.isHeld() else { return nil }
                guard ContinuousClock.now < deadline else { throw Starter.heldSilently(directory) }
                try await backoff.pause()
            }
        }
    }
}
