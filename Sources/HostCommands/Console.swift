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
    private let downloads = Mutex(Downloads())
    private let saidReady = Atomic(false)

    private struct Downloads {
        var text = DownloadText()
        /// The file and the kind of step that was last said in a sentence.
        var said = ""
    }

    /// What is shown once an instance runs.
    static func readyMessage(_ instance: Instance) -> String {
        let message = instance.configuration.message(of: instance.name, in: instance.directory.path).trimmed
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
            standing = progressLine(record).map { String($0.prefix(width - 1)) } ?? ""
            return StandardStreams.output(text + standing)
        }
    }

    private func progressLine(_ record: EventRecord) -> String? {
        guard case .download(let download) = record.event, let progress = download.progress else {
            return EventText.progress(record)
        }
        return downloads.withLock { $0.text.line(progress, now: record.elapsed, width: width - 1) }
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
            } else if case .download(let progress) = item {
                self.show(progress)
            } else if let text = item.sentence {
                self.finish()
                StandardStreams.error(text)
            }
        }
    }

    /// Shows a download: on a terminal in the progress line, elsewhere in a sentence for each of its steps.
    private func show(_ progress: TransferProgress) {
        guard isTerminal else {
            if let text = newSentence(progress) { StandardStreams.error("hostagent: \(text)\n") }
            return
        }
        let line = downloads.withLock {
            $0.text.line(progress, now: HostProcess.monotonicSeconds, width: width - 1)
        }
        standing.withLock { standing in
            if !standing.isEmpty { StandardStreams.control(Self.eraseLine) }
            standing = line ?? ""
            let lasting = line == nil ? DownloadText.sentence(progress) + "\n" : ""
            StandardStreams.output(lasting + standing)
        }
    }

    /// The sentence for a step of a download; nil while it goes on.
    private func newSentence(_ progress: TransferProgress) -> String? {
        let step =
            switch progress.state {
            case .receiving: "receiving"
            case .followed: "followed"
            case .interrupted: "interrupted \(progress)"
            case .unconfirmed: "unconfirmed"
            case .complete: "complete"
            }
        return downloads.withLock { downloads in
            let key = "\(step) \(progress.address)"
            defer { downloads.said = key }
            return downloads.said == key ? nil : DownloadText.sentence(progress)
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
