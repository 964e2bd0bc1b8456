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
        let directory = try CommandContext.current.directory(instance.name)
        // Mistakes are said here, all at once.
        _ = try Instance(directory)
        let answer = try await AgentClient.ofRunning(directory).reload()
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
        var wait = Duration.milliseconds(5)
        let deadline = ContinuousClock.now + patience
        while true {
            do {
                return try await info()
            } catch {
                guard try directory.isHeld() else { return nil }
                guard ContinuousClock.now < deadline else { throw Starter.heldSilently(directory) }
                try await Task.sleep(for: wait)
                wait = min(wait * 2, .milliseconds(100))
            }
        }
    }
}
