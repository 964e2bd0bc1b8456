import ArgumentParser
import HostModel
import InstanceOperations

struct Autostart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Registers instances with this host's service manager.",
        subcommands: [AutostartEnable.self, AutostartDisable.self, AutostartStatus.self])
}

/// The values of `--keep-alive`: the policies, and `true` and `false` as in Lima.
struct KeepAliveArgument: ExpressibleByArgument {
    let policy: KeepAlive

    init?(argument: String) {
        switch argument {
        case "true": policy = .onFailure
        case "false": policy = .no
        default:
            guard let known = KeepAlive(rawValue: argument) else { return nil }
            policy = known
        }
    }

    static var allValueStrings: [String] { KeepAlive.allCases.map(\.rawValue) + ["true", "false"] }
}

extension AutostartCondition: ExpressibleByArgument {}
