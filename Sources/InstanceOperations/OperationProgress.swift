import AgentAPI
import HostOS

/// What an operation tells while it is under way. Its result is a value; this is for a person who waits.
package struct OperationProgress: Sendable {
    package enum Item: Sendable {
        /// Something was found in disorder and repaired, or left alone on purpose.
        case note(String)
        /// Something in a configuration has no effect.
        case warning(String)
        /// What is being waited for.
        case remark(String)
        /// An event of the instance's agent.
        case event(EventRecord)
    }

    private let report: @Sendable (Item) -> Void

    package init(_ report: @escaping @Sendable (Item) -> Void) { self.report = report }

    package func callAsFunction(_ item: Item) { report(item) }

    /// Sentences go to standard error, events nowhere.
    package static let sentences = OperationProgress { item in
        if let text = item.sentence { StandardStreams.error(text) }
    }
}

extension OperationProgress.Item {
    /// The line for standard error; nil for an event.
    package var sentence: String? {
        switch self {
        case .note(let text): "hostagent: note: \(text)\n"
        case .warning(let text): "hostagent: warning: \(text)\n"
        case .remark(let text): "\(text)\n"
        case .event: nil
        }
    }
}
