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
        // An instance that could not be started again is not stopped.
        _ = try Instance(directory)
        if let registration = context.registration(of: directory) {
            try await context.manager.requirePermission(toRestart: registration)
        }
        let console = Console(messageWhenReady: "", quiet: true)
        var stopping = context
        stopping.progress = console.progress
        _ = try await StopOperation(context: stopping, directory: directory).run(force: force)
        console.finish()
        try await StartCommand(context: context, directory: directory).run()
    }
}
