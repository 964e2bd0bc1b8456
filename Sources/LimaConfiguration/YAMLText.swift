import HostModel
import Yams

extension ConfigurationNode {
    /// The value as a YAML text.
    /// - Throws: `HostError` if the text cannot be written.
    var yaml: String {
        get throws(HostError) {
            do {
                return try Yams.serialize(node: yams, width: -1, allowUnicode: true)
            } catch {
                throw HostError(.failed, "the merged template cannot be written as YAML: \(error)")
            }
        }
    }

    private var yams: Node {
        switch content {
        case .scalar(let text, isPlain: true): Node.scalar(.init(text, .implicit, .plain))
        case .scalar(let text, isPlain: false):
            Node.scalar(.init(text, Tag(.str), text.contains("\n") ? .literal : .doubleQuoted))
        case .list(let elements): Node.sequence(.init(elements.map(\.yams), .implicit, .block))
        case .mapping(let entries):
            Node.mapping(
                .init(entries.map { (Node.scalar(.init($0.key, .implicit, .any)), $0.value.yams) }, .implicit, .block))
        }
    }
}

/// Values written as YAML text by hand, where the rest of a file must stay as it is.
package enum YAMLText {
    /// A double-quoted scalar. The text must not have control characters.
    package static func quoted(_ text: String) -> String {
        "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
    }
}
