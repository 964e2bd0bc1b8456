import HostModel
import HostOS

/// Passes a stop to the manager that started the agent, so that the manager knows the correct state.
package enum StopDelegation {
    /// Asks the manager to stop this agent, without waiting for it.
    /// - Returns: nil if the manager will stop the agent; otherwise why the agent has to end itself.
    package static func ask(_ origin: LaunchOrigin) async -> String? {
        let candidates = commands(for: origin)
        var refusal = "no manager started this agent"
        for command in candidates {
            do {
                let result = try await command.run()
                if result.succeeded { return nil }
                // A job that takes some time to end is no refusal.
                let answer = Launchctl.Refusal(line: command.arguments, result: result)
                if command.executable == "launchctl", answer.code == .inProgress { return nil }
                if command.executable == "launchctl", answer.isOfBusyJob, let target = command.arguments.last,
                    try await Launchctl().isLettingGo(of: target)
                {
                    return nil
                }
                refusal = "\(command.executable) said: \(result.complaint)"
            } catch {
                refusal = "\(error)"
            }
        }
        return refusal
    }

    /// The command lines that stop the agent, in the order in which they are tried. launchd does not tell a job its
    /// domain. It is `gui/UID` if the owner is logged in at the screen, otherwise `user/UID`.
    package static func commands(for origin: LaunchOrigin) -> [Tool] {
        switch origin {
        case .person: []
        case .manager(.systemd, let scope, let unit):
            [
                Tool(
                    "systemctl",
                    (scope == .user ? ["--user"] : []) + ["stop", "--no-block", "--no-ask-password", unit])
            ]
        case .manager(.launchd, .system, let label): [Tool("launchctl", ["bootout", "system/\(label)"])]
        case .manager(.launchd, .user, let label):
            ["gui", "user"].map { Tool("launchctl", ["bootout", "\($0)/\(HostProcess.uid)/\(label)"]) }
        case .manager(.none, _, _): []
        }
    }
}
