import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceStore

struct Events: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows what happened in the current or last run of an instance, as JSON lines.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "Go on with what happens, until the agent ends.")
    var follow = false

    @Option(help: ArgumentHelp("Begin after the event of this number.", valueName: "seq"))
    var since = 0

    func validate() throws {
        if since < 0 { throw ValidationError("--since must be 0 or more, not \(since)") }
    }

    func run() async throws {
        let directory = try CommandContext.current.directory(instance.name)
        if follow, try directory.isHeld() {
            try await AgentClient(socket: directory.agentSocket).events(since: since) { record in
                StandardStreams.output(record.line)
            }
            return
        }
        let text: String
        do {
            text = try TextFile.read(directory.eventLog, limit: 1 << 30)
        } catch {
            if error.isMissing {
                throw HostError(
                    .unavailable, "the instance \"\(directory.name)\" has not run yet",
                    hint: "hostagent start \(directory.name) starts it")
            }
            throw HostError(.notPermitted, "cannot read \(directory.eventLog): \(error.reason)")
        }
        // An event is one line, and the first is number 1; a line that was never finished is no event.
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        if let last = lines.popLast(), !last.isEmpty { StandardStreams.error("hostagent: the last line is cut off\n") }
        StandardStreams.output(lines.dropFirst(since).map { $0 + "\n" }.joined())
    }
}
