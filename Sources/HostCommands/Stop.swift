import ArgumentParser
import HostOS
import InstanceOperations
import InstanceStore

struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shuts down the guests of instances and waits until they have ended.")

    @OptionGroup var instances: InstancesArgument

    @Flag(
        name: .shortAndLong, help: "End the guest at once, without asking it. What it has not written to disk is lost.")
    var force = false

    @OptionGroup var output: OutputOptions

    func run() async throws { try await instances.forEach { try await stop($0, .current) } }

    private func stop(_ name: String, _ context: OperationContext) async throws {
        var context = context
        let console = Console(messageWhenReady: "", quiet: true)
        if !output.json { context.progress = console.progress }
        let directory = try context.directory(name)
        let operation = StopOperation(context: context, directory: directory)
        let owner = try OwnerBoundary(name, context)
        if output.dryRun {
            guard let owner else { return try output.show(plan: operation.plan(force: force)) }
            let words = ["stop"] + output.words + (force ? ["--force"] : []) + [name]
            StandardStreams.output(try await owner.perform(words))
            return
        }
        defer { console.finish() }
        let result =
            if let owner {
                try await owner.stop(directory.name, force: force)
            } else {
                try await operation.run(force: force)
            }
        console.finish()
        try output.show(
            result, result.outcome == .stopped ? "\(result.name) is stopped\n" : "\(result.name) was not running\n")
    }
}
