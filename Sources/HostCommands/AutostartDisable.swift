import ArgumentParser
import HostModel
import HostOS
import InstanceOperations

struct AutostartDisable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disable",
        abstract: "Removes an instance's registration, of login, boot or both. Stops it where the manager runs it.")

    @OptionGroup var instance: InstanceArgument
    @OptionGroup var output: OutputOptions

    func run() async throws {
        // A registration may be all that is left of an instance.
        let name = try InstanceName(instance.name)
        let operation = AutostartOperation(context: .current)
        if output.dryRun { return try output.show(plan: operation.planOfDisable(name)) }
        let result = try await operation.disable(name)
        for note in result.notes { OperationContext.current.progress(.note(note)) }
        let isGone = result.outcome == .unregistered
        try output.show(result, isGone ? "\(name) is not registered any more\n" : "\(name) was not registered\n")
    }
}
