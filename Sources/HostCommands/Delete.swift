import ArgumentParser
import HostOS
import InstanceOperations
import InstanceStore

struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes an instance with its disk.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "Stop it first, without asking its guest, and remove it even if its files cannot be read.")
    var force = false

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        let operation = DeleteOperation(context: context, directory: directory)
        let owner = try OwnerBoundary(instance.name, context)
        if output.dryRun {
            guard let owner else { return try output.show(plan: operation.plan(force: force)) }
            let words = ["delete"] + output.words + (force ? ["--force"] : []) + [instance.name]
            StandardStreams.output(try await owner.perform(words))
            return
        }
        let result =
            if let owner {
                try await owner.delete(directory.name, force: force)
            } else {
                try await operation.run(force: force)
            }
        try output.show(result, "deleted \(result.name)\n")
    }
}
