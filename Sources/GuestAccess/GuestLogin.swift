import HostModel
import HostOS
import NIOCore

/// Proves that a person can use the guest: logs in once with the same SSH settings as `hostagent shell`.
package struct GuestLogin: Sendable {
    private let configurationFile: String
    private let host: String
    private let port: Int

    package init(configurationFile: String, host: String, port: Int) {
        self.configurationFile = configurationFile
        self.host = host
        self.port = port
    }

    /// Logs in once and runs a script in the guest with sh. An empty script only logs in.
    /// - Returns: nil on success, otherwise what went wrong.
    package func attempt(script: String = "", timeout: Int = 20) async throws -> String? {
        var tool = SSHConfiguration.command(
            file: configurationFile, host: host, run: script.isEmpty ? ["true"] : ["sh"], connectTimeout: timeout)
        if !script.isEmpty { tool.input = script }
        let result = try await tool.run()
        return result.succeeded ? nil : result.complaint
    }

    /// Tries until a login works. The guest has reported that it is ready, or its SSH server has greeted, so the first
    /// try usually works. The waits between tries are short at first and grow.
    /// - Throws: `CancellationError`, or `HostError` when there is no ssh. Each failure is reported to `lastFailure`.
    package func confirm(lastFailure: @Sendable (String) -> Void) async throws {
        var quick = Backoff(from: .milliseconds(50), to: .seconds(2))
        // After a minute without success the guest is still tried for as long as it lives, but less often.
        var slow = Backoff(from: .seconds(2), to: .seconds(30))
        let becomesSlow = ContinuousClock.now + .seconds(60)
        while let failure = try await attempt() {
            lastFailure(failure)
            if ContinuousClock.now < becomesSlow { try await quick.pause() } else { try await slow.pause() }
        }
    }

    /// Waits for the SSH server's greeting, for guests without a channel. QEMU accepts the connection before the guest
    /// listens, so only the greeting shows that the guest is up.
    /// - Throws: `CancellationError`.
    package func waitForGreeting() async throws {
        var backoff = Backoff(from: .milliseconds(20), to: .milliseconds(500), factor: 1.5)
        while !(await SSHBanner.isThere(port: port, patience: .milliseconds(500))) {
            try Task.checkCancellation()
            try await backoff.pause()
        }
    }

    /// Whether the SSH server greets. A running server does so at once, even in a guest that has just woken.
    package static func greets(port: Int) async -> Bool { await SSHBanner.isThere(port: port, patience: .seconds(5)) }

    /// Tries a readiness probe until it succeeds. The script names its own interpreter, so it is written to a file.
    /// - Throws: `CancellationError`. Each failure is reported to `lastFailure`.
    package func probe(
        _ script: String, variables: [(name: String, value: String)], lastFailure: @Sendable (String) -> Void
    ) async throws {
        let runner =
            variables.map { ShellWord.export($0.name, $0.value) + "; " }.joined()
            + "f=$(mktemp) && printf %s \(ShellWord.quoted(script)) > \"$f\" && chmod 700 \"$f\" && \"$f\"; s=$?; "
            + "rm -f \"$f\"; exit $s"
        var backoff = Backoff(from: .milliseconds(100), to: .seconds(5))
        while let failure = try await attempt(script: runner) {
            lastFailure(failure)
            try await backoff.pause()
        }
    }
}
