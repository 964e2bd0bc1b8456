import AgentAPI
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration
import Synchronization

/// Shows events to a person. On a terminal they are text, with colours and a progress line that is redrawn. Elsewhere
/// they are JSON lines as on the wire.
final class Console: Sendable {
    let messageWhenReady: String
    let isTerminal: Bool
    private let quiet: Bool
    /// Events are shown.
    var shows: Bool { !quiet }
    private let width: Int
    /// The progress line that is on the terminal now.
    private let standing = Mutex("")
    private let saidReady = Atomic(false)

    /// What is shown once an instance runs.
    static func readyMessage(_ instance: Instance) -> String {
        let message = instance.configuration.message.trimmed
        return "\(instance.name) is running; get a shell with: hostagent shell \(instance.name)\n"
            + (message.isEmpty ? "" : message + "\n")
    }

    /// Moves to the first column and erases the line (ECMA-48, EL).
    private static let eraseLine = "\r\u{1b}[2K"

    /// - Parameter quiet: show nothing when standard output is not a terminal.
    init(messageWhenReady: String, quiet: Bool = false) {
        self.messageWhenReady = messageWhenReady
        isTerminal = HostProcess.isTerminal(1)
        self.quiet = quiet && !isTerminal
        width = isTerminal ? HostProcess.terminalWidth(1) : 80
    }

    /// - Returns: false when the reader has gone.
    func show(_ record: EventRecord) -> Bool {
        if quiet {
            // Warnings about ports are shown even when events are not.
            if let warning = EventText.portWarning(record) { StandardStreams.error("hostagent: \(warning)\n") }
            return true
        }
        guard isTerminal else { return StandardStreams.output(record.line) }
        return standing.withLock { standing in
            if !standing.isEmpty { StandardStreams.control(Self.eraseLine) }
            var text = ""
            for line in EventText.lines(record) { text += line + "\n" }
            if record.phase.isUsable, record.event == .phase, !saidReady.exchange(true, ordering: .relaxed) {
                text += messageWhenReady
            }
            standing = EventText.progress(record).map { String($0.prefix(width - 1)) } ?? ""
            return StandardStreams.output(text + standing)
        }
    }

    /// Reports that the guest is ready, unless the event was shown.
    func announceReady() {
        if !saidReady.exchange(true, ordering: .relaxed) { StandardStreams.output(messageWhenReady) }
    }

    /// Shows the progress of an operation.
    var progress: OperationProgress {
        OperationProgress { item in
            if case .event(let record) = item {
                _ = self.show(record)
            } else if let text = item.sentence {
                self.finish()
                StandardStreams.error(text)
            }
        }
    }

    /// Erases the progress line.
    func finish() {
        standing.withLock { standing in
            if !standing.isEmpty { StandardStreams.control(Self.eraseLine) }
            standing = ""
        }
    }
}
