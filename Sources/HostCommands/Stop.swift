import ArgumentParser
import HostModel
import HostOS
import InstanceStore

struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shuts an instance's guest down, and waits until it is gone.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "End the guest at once, without asking it. What it has not written to disk is lost.")
    var force = false

    func run() async throws {
        let context = CommandContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            return try await owner.stop(directory.name, force: force)
        }
        let stopped = try await Stopper(context: context, directory: directory).run(force: force)
        StandardStreams.output(stopped ? "\(directory.name) is stopped\n" : "\(directory.name) was not running\n")
    }
}
