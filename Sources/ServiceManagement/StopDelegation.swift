import HostModel
import HostOS

/// Hands a stop to the manager that started the agent, so that its picture stays true.
package enum StopDelegation {
    /// The command that makes the manager stop this agent, without waiting for it; nil where no manager did the
    /// starting, or where it has no such command for us.
    package static func command(for origin: LaunchOrigin) -> Tool? {
        guard case .manager(.systemd, let scope, let unit) = origin else { return nil }
        return Tool(
            "systemctl", (scope == .user ? ["--user"] : []) + ["stop", "--no-block", "--no-ask-password", unit])
    }
}
