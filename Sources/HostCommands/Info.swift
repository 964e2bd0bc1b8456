import AgentAPI
import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceStore

struct Info: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows what a running instance's agent says of itself, as JSON.")

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        let directory = try CommandContext.current.directory(instance.name)
        guard try directory.isHeld() else {
            throw HostError(
                .unavailable, "the instance \"\(directory.name)\" has no running agent",
                hint: "hostagent start \(directory.name) starts one; hostagent list shows the instance's state")
        }
        let info = try await AgentClient(socket: directory.agentSocket).info()
        StandardStreams.output(try JSONText.pretty(info))
    }
}
