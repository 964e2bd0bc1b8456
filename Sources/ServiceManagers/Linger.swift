import HostModel
import HostOS

/// Lingering: a user manager runs from boot on, whether its owner is logged in or not (loginctl(1), enable-linger).
package enum Linger {
    package static func isEnabled(_ account: Account) -> Bool {
        Files.kind("/var/lib/systemd/linger/\(account.name)") != nil
    }

    /// - Throws: `HostError` with `.notPermitted` if only an administrator may do this.
    package static func enable(_ account: Account) async throws {
        if isEnabled(account) { return }
        let result = try await Tool("loginctl", ["--no-ask-password", "enable-linger", account.name]).run()
        guard result.succeeded, isEnabled(account) else {
            throw HostError(
                .notPermitted, "the host does not let \(account.name) linger: \(result.complaint)",
                hint: "sudo loginctl enable-linger \(account.name)")
        }
        // The user manager is being started. Nothing announces when it is ready, so wait for its socket.
        let socket = "/run/user/\(account.uid)/systemd/private"
        var backoff = Backoff(from: .milliseconds(10), to: .milliseconds(200))
        let deadline = ContinuousClock.now + .seconds(20)
        while Files.kind(socket) != .socket, ContinuousClock.now < deadline {
            try await backoff.pause()
        }
    }
}
