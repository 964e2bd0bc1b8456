import ArgumentParser
import HostModel
import HostOS
import InstanceOperations

struct StartAtLogin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Deprecated: use autostart enable and autostart disable.")

    @OptionGroup var instance: InstanceArgument

    @Option(help: ArgumentHelp("true or false.", valueName: "flag"))
    var enabled = true

    func run() async throws {
        let context = OperationContext.current
        let verb = enabled ? "enable" : "disable"
        StandardStreams.error(
            "hostagent: start-at-login is deprecated; use: hostagent autostart \(verb) \(instance.name)\n")
        if enabled {
            let result = try await AutostartRequest(condition: .login).enable(instance.name, context)
            for note in result.notes { context.progress(.note(note)) }
            StandardStreams.output(AutostartEnable.text(result))
        } else {
            let result = try await AutostartOperation(context: context).disable(InstanceName(instance.name))
            for note in result.notes { context.progress(.note(note)) }
        }
    }
}
