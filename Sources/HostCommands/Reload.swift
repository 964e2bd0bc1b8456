import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes the running agent read its configuration again, and reports what needs a restart.")

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        if let owner = try OwnerBoundary(instance.name, .current) {
            StandardStreams.output(try await owner.perform(["reload", instance.name]))
            return
        }
        let directory = try OperationContext.current.directory(instance.name)
        // Mistakes in the files are reported here, all at once.
        _ = try Instance(directory)
        let client = try AgentClient.ofRunning(directory)
        // A stopped or hung agent is detected here, sooner than by the time limit of a reload.
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
            ("without effect on an existing instance", answer.pending.filter { $0.until == .creation }.map(\.key)),
        ]
        let lines = rows.filter { !$0.keys.isEmpty }.map { "\($0.what): \($0.keys.joined(separator: ", "))\n" }
        return lines.isEmpty ? "nothing has changed\n" : lines.joined()
    }
}
