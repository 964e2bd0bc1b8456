import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes instances with their disks.", aliases: ["remove", "rm"])

    @OptionGroup var instances: GivenInstancesArgument

    @Flag(
        name: .shortAndLong,
        help: "Stop it first, without asking its guest, and remove it even if its files cannot be read.")
    var force = false

    @OptionGroup var output: OutputOptions

    func run() async throws { try await instances.forEach { try await delete($0, .current) } }

    private func delete(_ name: String, _ context: OperationContext) async throws {
        let directory: InstanceDirectory
        do throws(HostError) {
            directory = try context.directory(name)
        } catch {
            guard force, error.code == .noSuchInstance else { throw error }
            // As in Lima, a script may clean up what was never made.
            StandardStreams.error("hostagent: warning: \(error.message)\n")
            return
        }
        let operation = DeleteOperation(context: context, directory: directory)
        let owner = try OwnerBoundary(name, context)
        if output.dryRun {
            guard let owner else { return try output.show(plan: operation.plan(force: force)) }
            let words = ["delete"] + output.words + (force ? ["--force"] : []) + [name]
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
