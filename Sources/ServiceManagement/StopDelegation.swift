import HostModel
import HostOS

/// Hands a stop to the manager that started the agent, so that its picture stays true.
package enum StopDelegation {
    /// Asks the manager to stop this agent, without waiting for it.
    /// - Returns: nil when it will; else why the agent has to end itself.
    package static func ask(_ origin: LaunchOrigin) async -> String? {
        let candidates = commands(for: origin)
        var refusal = "no manager started this agent"
        for command in candidates {
            do {
                let result = try await command.run()
                // launchd says "in progress" of a job that takes its time to end.
                if result.succeeded || result.status == LaunchdCode.inProgress.rawValue { return nil }
                refusal = "\(command.executable) said: \(result.complaint)"
            } catch {
                refusal = "\(error)"
            }
        }
        return refusal
    }

    /// The command lines that stop the agent, in the order they are tried. launchd does not tell a job which domain it
    /// is in: `gui/UID` where its owner is logged in at the screen, else `user/UID`.
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
