import AgentAPI
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import Synchronization

/// Shows events to a person: on a terminal as text with a line that follows the progress, else as they are on the
/// wire. Colours and cursor movements only on a terminal.
final class Console: Sendable {
    let messageWhenReady: String
    let isTerminal: Bool
    private let quiet: Bool
    /// Somebody sees what is shown.
    var shows: Bool { !quiet }
    private let width: Int
    /// The progress line that stands on the terminal.
    private let standing = Mutex("")
    private let saidReady = Atomic(false)

    /// What a person needs to know once an instance runs.
    static func readyMessage(_ instance: Instance) -> String {
        let message = instance.configuration.message.trimmed
        return "\(instance.name) is running; get a shell with: hostagent shell \(instance.name)\n"
            + (message.isEmpty ? "" : message + "\n")
    }

    /// Back to the first column, and erase the line (ECMA-48, EL).
    private static let eraseLine = "\r\u{1b}[2K"

    /// - Parameter quiet: where standard output is no terminal, show nothing.
    init(messageWhenReady: String, quiet: Bool = false) {
        self.messageWhenReady = messageWhenReady
        isTerminal = HostProcess.isTerminal(1)
        self.quiet = quiet && !isTerminal
        width = isTerminal ? HostProcess.terminalWidth(1) : 80
    }

    /// - Returns: false when the reader has gone.
    func show(_ record: EventRecord) -> Bool {
        if quiet {
            // Port warnings are shown also to a person who sees no events.
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

    /// Says that the guest is ready, where the event did not already.
    func announceReady() {
        if !saidReady.exchange(true, ordering: .relaxed) { StandardStreams.output(messageWhenReady) }
    }

    /// Shows what an operation tells.
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

    /// Takes the progress line away.
    func finish() {
        standing.withLock { standing in
            if !standing.isEmpty { StandardStreams.control(Self.eraseLine) }
            standing = ""
        }
    }
}
