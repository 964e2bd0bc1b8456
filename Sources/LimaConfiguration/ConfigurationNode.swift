import HostModel
import Yams

/// A position in a file of the configuration. Lines and columns count from 1.
package struct Place: Sendable, Hashable, Comparable, CustomStringConvertible {
    package let file: String
    package let line: Int
    package let column: Int

    package var description: String { "\(file):\(line):\(column)" }

    package static func < (left: Self, right: Self) -> Bool {
        (left.file, left.line, left.column) < (right.file, right.line, right.column)
    }
}

/// A text that configures an instance, and the name of the file that it is from.
package struct ConfigurationText: Sendable {
    package let text: String
    package let file: String

    package init(_ text: String, file: String) {
        self.text = text
        self.file = file
    }

    /// Whether the file says nothing: it is empty, or all of it is comments.
    var isBlank: Bool {
        text.split(whereSeparator: \.isNewline).allSatisfy { line in
            let start = line.first { $0 != " " && $0 != "\t" }
            return start == nil || start == "#"
        }
    }
}

/// A YAML value that knows where it was written, so that a fault can be shown there after several files were merged.
package struct ConfigurationNode: Sendable {
    package enum Content: Sendable {
        /// - Parameter isPlain: whether the text stands without quotation marks. Only plain text can be a number, a
        ///   truth value or null.
        case scalar(String, isPlain: Bool)
        case list([ConfigurationNode])
        case mapping([Entry])
    }

    package struct Entry: Sendable {
        package let key: String
        package let keyPlace: Place
        package var value: ConfigurationNode
    }

    package let place: Place
    package var content: Content

    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    /// The value in words, for errors.
    var summary: String {
        switch content {
        case .scalar(let text, _): text.isEmpty ? "nothing" : InstanceName.quoted(text)
        case .mapping: "a mapping"
        case .list: "a list"
        }
    }
}

extension ConfigurationNode {
    /// The size of the largest file that is read, in bytes.
    private static let maximumSize = 1 << 20

    /// Parses the text of a file. Its top level must be a mapping.
    /// - Throws: `HostError` with `.badConfiguration` if the text is not YAML, not a mapping, or too large.
    package init(parsing source: ConfigurationText) throws(HostError) {
        let file = source.file
        guard source.text.utf8.count <= Self.maximumSize else {
            throw HostError(
                .badConfiguration,
                "\(file) has \(source.text.utf8.count) bytes, more than the \(Self.maximumSize) that are read")
        }
        let parsed: Node?
        do {
            parsed = try Yams.compose(yaml: source.text)
        } catch let error as YamlError {
            throw HostError(.badConfiguration, "\(file) is not YAML: \(Self.describe(error))")
        } catch {
            throw HostError(.badConfiguration, "\(file) is not YAML: \(error)")
        }
        guard let parsed else {
            throw HostError(.badConfiguration, "\(file) is empty", hint: "start from: hostagent create mini")
        }
        var expansion = AliasExpansion(file: file)
        self = try expansion.node(parsed)
        guard case .mapping = content else {
            throw HostError(.badConfiguration, "\(place): expected a mapping of keys, found \(summary)")
        }
    }

    private static func describe(_ error: YamlError) -> String {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            "line \(mark.line), column \(mark.column): \(problem)"
        case .duplicatedKeysInMapping(let keys, _):
            "the key \(keys.map(\.description).joined(separator: ", ")) appears twice"
        default: "\(error)".split(separator: "\n").first.map(String.init) ?? "\(error)"
        }
    }
}

/// Copies a parsed file. An alias stands for the whole value of its anchor, so a small file can stand for a huge one.
/// The sum of what it stands for is limited.
private struct AliasExpansion {
    let file: String
    private var remainingValues = 100_000
    private var remainingBytes = 4 << 20

    init(file: String) { self.file = file }

    mutating func node(_ node: Node) throws(HostError) -> ConfigurationNode {
        remainingValues -= 1
        guard remainingValues > 0, remainingBytes > 0 else {
            throw HostError(
                .badConfiguration,
                "\(file) stands for more than 100,000 values or 4 MiB after its aliases are followed",
                hint: "write the values out, without anchors and aliases")
        }
        let place = place(of: node)
        switch node {
        case .scalar(let scalar):
            remainingBytes -= scalar.string.utf8.count
            return ConfigurationNode(
                place: place, content: .scalar(scalar.string, isPlain: scalar.style == .plain))
        case .sequence(let sequence):
            var elements: [ConfigurationNode] = []
            for element in sequence { elements.append(try self.node(element)) }
            return ConfigurationNode(place: place, content: .list(elements))
        case .mapping(let mapping):
            var entries: [ConfigurationNode.Entry] = []
            for (key, value) in mapping {
                guard let name = key.scalar?.string else {
                    throw HostError(.badConfiguration, "\(self.place(of: key)): a key must be a word")
                }
                entries.append(.init(key: name, keyPlace: self.place(of: key), value: try self.node(value)))
            }
            return ConfigurationNode(place: place, content: .mapping(entries))
        case .alias(let alias):
            throw HostError(.badConfiguration, "\(place): the alias \(alias.anchor.rawValue) has no anchor")
        }
    }

    private func place(of node: Node) -> Place {
        Place(file: file, line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    }
}
