import ArgumentParser
import HostModel
import InstanceStore
import ServiceManagement

struct Restart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Stops an instance and starts it again.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "End the guest at once, without asking it. What it has not written to disk is lost.")
    var force = false

    func run() async throws {
        let context = CommandContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            try await owner.perform(["check", directory.name.text])
            try await owner.stop(directory.name, force: force)
            return try await owner.start(directory.name, arguments: ["start", directory.name.text])
        }
        // What could not be started again is not stopped.
        _ = try Instance(directory)
        if let registration = context.registration(of: directory) {
            try await context.manager.requirePermission(toRestart: registration)
        }
        _ = try await Stopper(context: context, directory: directory).run(force: force)
        try await Starter(context: context, directory: directory, timeout: nil, progress: false).run()
    }
}
