import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Events: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints the events of the current or last run of an instance, as JSON lines.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "Also print new events, until the agent ends.")
    var follow = false

    @Option(help: ArgumentHelp("Begin after the event with this number.", valueName: "seq"))
    var since = 0

    func validate() throws {
        if since < 0 { throw ValidationError("--since must be 0 or more, not \(since)") }
    }

    func run() async throws {
        let directory = try OperationContext.current.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, .current) {
            if follow { throw owner.refuse("follow events", "events --follow \(directory.name)") }
            StandardStreams.output(try await owner.perform(["events", "--since", String(since), instance.name]))
            return
        }
        if follow, try directory.isHeld() {
            try await AgentClient(socket: directory.agentSocket).events(since: since) { record in
                StandardStreams.output(record.line)
            }
            return
        }
        let lines: [Substring]
        do {
            lines = try EventLogFiles.lines(directory.eventLog)
        } catch {
            if error.isMissing {
                throw HostError(
                    .unavailable, "the instance \"\(directory.name)\" has not run yet",
                    hint: "hostagent start \(directory.name) starts it")
            }
            throw HostError(.notPermitted, "cannot read \(directory.eventLog): \(error.reason)")
        }
        let wanted = lines.filter { EventRecord.seq(ofLine: Array($0.utf8)[...]).map { $0 > since } ?? false }
        StandardStreams.output(wanted.map { $0 + "\n" }.joined())
    }
}
