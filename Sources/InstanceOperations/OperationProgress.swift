import AgentAPI
import HostModel
import HostOS

/// The progress of an operation, for a person who waits. The result of the operation is a separate value.
package struct OperationProgress: Sendable {
    package enum Item: Sendable {
        /// Something was repaired, or was left unrepaired on purpose.
        case note(String)
        /// Something in a configuration has no effect.
        case warning(String)
        /// The operation is waiting for something.
        case remark(String)
        /// A file is being downloaded.
        case download(TransferProgress)
        /// An event of the instance's agent.
        case event(EventRecord)
    }

    private let report: @Sendable (Item) -> Void

    package init(_ report: @escaping @Sendable (Item) -> Void) { self.report = report }

    package func callAsFunction(_ item: Item) { report(item) }

    /// Writes sentences to standard error and drops events.
    package static let sentences = OperationProgress { item in
        if let text = item.sentence { StandardStreams.error(text) }
    }
}

extension OperationProgress.Item {
    /// The line for standard error; nil for an event and for bytes that arrive.
    package var sentence: String? {
        switch self {
        case .note(let text): "hostagent: note: \(text)\n"
        case .warning(let text): "hostagent: warning: \(text)\n"
        case .remark(let text): "\(text)\n"
        case .download(let progress):
            switch progress.state {
            case .interrupted(let reason, let pause): "hostagent: note: \(reason); trying again in \(pause) s\n"
            case .unconfirmed(let reason): "hostagent: warning: \(reason); using what was downloaded before\n"
            case .receiving, .followed, .complete: nil
            }
        case .event: nil
        }
    }
}
