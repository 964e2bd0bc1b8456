import HostModel

/// Tells the manager that started this agent how it is (sd_notify(3)). Where nobody listens, nothing happens.
package struct Notifier: Sendable {
    private let send: @Sendable (String) -> Void

    /// - Parameter send: what carries a message; the default is the socket of `$NOTIFY_SOCKET`.
    package init(send: @escaping @Sendable (String) -> Void = { _ = Systemd.notify($0) }) { self.send = send }

    /// The guest is ready and the socket bound.
    package func ready(status: String) { send("READY=1\nSTATUS=\(Self.line(status))") }

    package func status(_ text: String) { send("STATUS=\(Self.line(text))") }

    package func stopping(status: String) { send("STOPPING=1\nSTATUS=\(Self.line(status))") }

    /// Asks for more time: the current start or stop may take this long from now (systemd 236).
    package func extendTimeout(seconds: Int) { send("EXTEND_TIMEOUT_USEC=\(seconds * 1_000_000)") }

    package func feedWatchdog() { send("WATCHDOG=1") }

    private static func line(_ text: String) -> String { text.replacing("\n", with: " ") }
}
