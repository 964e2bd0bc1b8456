import HostModel
import Yams

/// A position in a file of the configuration. Lines and columns count from 1.
package struct Place: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The name of the file, as messages show it.
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
    /// The name of the file, as messages show it.
    package let file: String

    package init(_ text: String, file: String) {
        // A byte order mark at the start is not part of the text (RFC 3629).
        self.text = text.hasPrefix("\u{feff}") ? String(text.unicodeScalars.dropFirst()) : text
        self.file = file
    }

    /// Whether the file says nothing: it is empty, or all of it is comments and the marks of documents.
    var isBlank: Bool {
        text.split(whereSeparator: \.isNewline).allSatisfy { line in
            let start = line.first { $0 != " " && $0 != "\t" }
            return start == nil || start == "#" || String(line).trimmed == "---"
        }
    }
}

/// A YAML value that knows where it was written, so that a fault can be shown there after several files were merged.
package struct ConfigurationNode: Sendable {
    /// The value itself.
    package enum Content: Sendable {
        /// - Parameter isPlain: whether the text stands without quotation marks. Only plain text can be a number, a
        ///   truth value or null.
        case scalar(String, isPlain: Bool)
        case list([ConfigurationNode])
        case mapping([Entry])
    }

    /// One key of a mapping, with its value.
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
    private static let maximumSize = 4 << 20

    /// Parses the text of a file. Its top level must be a mapping.
    /// - Throws: `HostError` with `.badConfiguration` if the text is not YAML, not a mapping, or too large.
    package init(parsing source: ConfigurationText) throws(HostError) {
        let file = source.file
        guard source.text.utf8.count <= Self.maximumSize else {
            throw HostError(
                .badConfiguration,
                "\(file) has \(source.text.utf8.count) bytes, more than the \(ByteCount.format(Self.maximumSize)) that are read"
            )
        }
        guard !AliasKeys.areDangerous(in: source.text) else {
            throw HostError(
                .badConfiguration, "\(file) has many aliases, and keys that are not words",
                hint: "write the values out, without anchors and aliases")
        }
        let parsed: Node?
        do {
            parsed = try Yams.compose(yaml: source.text)
        } catch {
            throw HostError(.badConfiguration, Self.describe(error, file))
        }
        guard let parsed else {
            throw HostError(
                .badConfiguration, "\(file) is empty: expected a mapping of keys",
                hint: "hostagent create mini makes one")
        }
        var expansion = AliasExpansion(file: file)
        self = try expansion.node(parsed)
        guard case .mapping = content else {
            throw HostError(.badConfiguration, "\(place): expected a mapping of keys, found \(summary)")
        }
    }

    /// The error of the parser with the place in the form of all other faults.
    private static func describe(_ error: any Error, _ file: String) -> String {
        switch error {
        case YamlError.scanner(_, let problem, let mark, _), YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _):
            "\(file):\(mark.line):\(mark.column): not YAML: \(problem)"
        case YamlError.duplicatedKeysInMapping(let keys, let context):
            "\(file):\(context.mark.line):\(context.mark.column): the key \(keys.joined(separator: ", ")) appears twice"
        case YamlError.reader(let problem, _, _, _): "\(file): not YAML: \(problem)"
        default: "\(file): not YAML: \("\(error)".split(separator: "\n").first ?? "unknown reason")"
        }
    }
}

/// Finds texts that Yams would take for ever to parse. It compares the keys of a mapping while it parses. An alias in a
/// key stands for its whole value there, and a few lines of aliases of aliases stand for billions of values.
enum AliasKeys {
    /// With this many aliases, a file can stand for at most some hundred times its size.
    private static let limit = 12

    static func areDangerous(in text: String) -> Bool {
        guard text.utf8.contains(UInt8(ascii: "&")), text.utf8.contains(UInt8(ascii: "*")) else { return false }
        let bytes = Array(text.utf8)
        let anchors = Set(names(after: UInt8(ascii: "&"), in: bytes))
        let aliases = names(after: UInt8(ascii: "*"), in: bytes).filter(anchors.contains)
        return aliases.count > limit && mayHaveComplexKeys(bytes)
    }

    private static func isEnd(_ byte: UInt8) -> Bool { byte <= 0x20 || ",[]{}".utf8.contains(byte) }

    /// The names that follow a mark. YAML ends them at white space and at the marks of collections.
    private static func names(after mark: UInt8, in bytes: [UInt8]) -> [ArraySlice<UInt8>] {
        var names: [ArraySlice<UInt8>] = []
        var index = 0
        while let start = bytes[index...].firstIndex(of: mark) {
            let end = bytes[(start + 1)...].firstIndex(where: isEnd) ?? bytes.endIndex
            if end > start + 1 { names.append(bytes[(start + 1)..<end]) }
            index = start + 1
        }
        return names
    }

    /// Whether a key may be something else than a word: `? KEY`, `[…]: VALUE`, `{…}: VALUE` or `*ALIAS : VALUE`.
    private static func mayHaveComplexKeys(_ bytes: [UInt8]) -> Bool {
        for (index, byte) in bytes.enumerated() {
            if byte == UInt8(ascii: "?"), index + 1 == bytes.count || bytes[index + 1] <= 0x20 { return true }
            guard byte == UInt8(ascii: ":") else { continue }
            var before = index - 1
            while before >= 0, bytes[before] == 0x20 || bytes[before] == 0x09 { before -= 1 }
            guard before >= 0 else { continue }
            if "]}".utf8.contains(bytes[before]) { return true }
            // The name of an alias, which a colon may be part of.
            let start = bytes[...before].lastIndex(where: isEnd).map { $0 + 1 } ?? 0
            if start <= before, bytes[start] == UInt8(ascii: "*") { return true }
        }
        return false
    }
}

/// Copies a parsed file. An alias stands for the whole value of its anchor, so a small file can stand for a huge one.
/// The sum of what it stands for is limited.
private struct AliasExpansion {
    let file: String
    private var remainingValues = 100_000
    private var remainingBytes = 4 << 20
    private var depth = 0
    /// No configuration is nested as deeply. What walks through a value calls itself at each level.
    private static let maximumDepth = 64

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
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else {
            throw HostError(.badConfiguration, "\(place): nested more than \(Self.maximumDepth) levels deep")
        }
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
