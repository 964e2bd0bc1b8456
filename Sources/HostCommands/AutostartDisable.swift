import ArgumentParser
import HostModel
import HostOS
import InstanceOperations

struct AutostartDisable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disable",
        abstract: "Removes an instance's registrations, and stops the instance if a manager runs it.")

    @OptionGroup var instance: InstanceArgument
    @OptionGroup var output: OutputOptions

    func run() async throws {
        // The instance itself may be gone while its registration remains.
        let name = try InstanceName(instance.name)
        let operation = AutostartOperation(context: .current)
        if output.dryRun { return try output.show(plan: operation.planOfDisable(name)) }
        let result = try await operation.disable(name)
        for note in result.notes { OperationContext.current.progress(.note(note)) }
        let isGone = result.outcome == .unregistered
        try output.show(result, isGone ? "\(name) is not registered any more\n" : "\(name) was not registered\n")
    }
}
