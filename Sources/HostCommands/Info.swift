import AgentAPI
import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Info: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints the information of a running instance's agent about itself, as JSON.")

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        if let owner = try OwnerBoundary(instance.name, .current) {
            StandardStreams.output(try await owner.perform(["info", instance.name]))
            return
        }
        let directory = try OperationContext.current.directory(instance.name)
        let info = try await AgentClient.ofRunning(directory).info()
        try info.requireAgent(of: directory)
        StandardStreams.output(try JSONText.pretty(info))
    }
}
