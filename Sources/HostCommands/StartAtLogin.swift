import ArgumentParser
import HostModel
import HostOS

struct StartAtLogin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Deprecated: use autostart enable and autostart disable.")

    @OptionGroup var instance: InstanceArgument

    @Option(help: ArgumentHelp("true or false.", valueName: "flag"))
    var enabled = true

    func run() async throws {
        let context = CommandContext.current
        let verb = enabled ? "enable" : "disable"
        StandardStreams.error(
            "hostagent: start-at-login is deprecated; use: hostagent autostart \(verb) \(instance.name)\n")
        if enabled {
            _ = try await AutostartRequest(condition: .login).enable(instance.name, context)
        } else {
            _ = try await AutostartDisable.unregister(try InstanceName(instance.name), context)
        }
    }
}
