import ArgumentParser
import HostModel
import InstanceOperations
import InstanceStore
import ServiceManagers

struct Restart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Stops an instance and starts it again.")

    @OptionGroup var instance: InstanceArgument

    @Flag(
        name: .shortAndLong, help: "End the guest at once, without asking it. What it has not written to disk is lost.")
    var force = false

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            _ = try await owner.perform(["check", directory.name.text])
            _ = try await owner.stop(directory.name, force: force)
            return try await StartCommand(context: context, directory: directory).run(owner)
        }
        let console = Console(messageWhenReady: "", quiet: true)
        var stopping = context
        stopping.progress = console.progress
        try await StopOperation(context: stopping, directory: directory).runBeforeStart(force: force)
        console.finish()
        try await StartCommand(context: context, directory: directory).run()
    }
}
