import HostModel

/// Reports the agent's state to the manager that started it (sd_notify(3)). Does nothing if there is none.
package struct Notifier: Sendable {
    private let send: @Sendable (String) -> Void

    /// - Parameter send: sends a message; the default uses the socket of `$NOTIFY_SOCKET`.
    package init(send: @escaping @Sendable (String) -> Void = { _ = Systemd.notify($0) }) { self.send = send }

    /// Reports that the guest is ready and the socket is bound.
    package func ready(status: String) { send("READY=1\nSTATUS=\(Self.line(status))") }

    package func status(_ text: String) { send("STATUS=\(Self.line(text))") }

    package func stopping(status: String) { send("STOPPING=1\nSTATUS=\(Self.line(status))") }

    /// Asks for more time. The current start or stop may take this many seconds from now (systemd 236).
    package func extendTimeout(seconds: Int) { send("EXTEND_TIMEOUT_USEC=\(seconds * 1_000_000)") }

    package func feedWatchdog() { send("WATCHDOG=1") }

    private static func line(_ text: String) -> String { text.replacing("\n", with: " ") }
}
