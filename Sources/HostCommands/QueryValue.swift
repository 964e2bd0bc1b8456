import Foundation
import HostModel
import LimaConfiguration
import Yams

/// A value of a JSON document, as queries see it. Keys keep their order.
package indirect enum QueryValue: Sendable, Equatable {
    case null
    case flag(Bool)
    case number(Double)
    case text(String)
    case list([QueryValue])
    case mapping([Entry])

    package struct Entry: Sendable, Equatable {
        package var key: String
        package var value: QueryValue
    }

    /// - Parameter json: a JSON text that this program has made.
    package init(json: String) throws {
        // JSON is YAML, and the parser of the latter keeps the order of keys. It refuses long keys.
        if let node = try? Yams.compose(yaml: Self.escaped(json)) {
            self.init(node)
        } else {
            self.init(try JSONDecoder().decode(ConfigurationDocument.self, from: Data(json.utf8)))
        }
    }

    /// The keys are sorted.
    init(_ document: ConfigurationDocument) {
        self =
            switch document {
            case .null: .null
            case .flag(let flag): .flag(flag)
            case .integer(let integer): .number(Double(integer))
            case .text(let text): .text(text)
            case .list(let elements): .list(elements.map { QueryValue($0) })
            case .mapping(let values):
                .mapping(values.sorted { $0.key < $1.key }.map { Entry(key: $0.key, value: QueryValue($0.value)) })
            }
    }

    /// YAML refuses some characters that JSON has, and takes others for line ends (YAML 1.1, 4.2). They are in texts only.
    private static func escaped(_ json: String) -> String {
        guard json.utf8.contains(where: { $0 >= 0x7f }) else { return json }
        return json.unicodeScalars.reduce(into: "") { text, scalar in
            if scalar.value < 0x7f {
                text.unicodeScalars.append(scalar)
            } else {
                let digits = String(scalar.value, radix: 16)
                text += "\\U" + String(repeating: "0", count: 8 - digits.count) + digits
            }
        }
    }

    private init(_ node: Node) {
        switch node {
        case .scalar(let scalar):
            if scalar.style != .plain {
                self = .text(scalar.string)
            } else {
                self =
                    switch scalar.string {
                    case "null": .null
                    case "true": .flag(true)
                    case "false": .flag(false)
                    default: Double(scalar.string).map { .number($0) } ?? .text(scalar.string)
                    }
            }
        case .sequence(let sequence): self = .list(sequence.map { QueryValue($0) })
        case .mapping(let mapping):
            self = .mapping(mapping.map { Entry(key: $0.key.string ?? "", value: QueryValue($0.value)) })
        case .alias: self = .null
        }
    }

    /// In conditions, null and false are false. Everything else is true.
    var isTrue: Bool { self != .null && self != .flag(false) }

    var isCompound: Bool {
        switch self {
        case .list, .mapping: true
        case .null, .flag, .number, .text: false
        }
    }

    subscript(key: String) -> QueryValue {
        guard case .mapping(let entries) = self else { return .null }
        return entries.first { $0.key == key }?.value ?? .null
    }

    /// What the value is, for messages.
    var kind: String {
        switch self {
        case .null: "null"
        case .flag: "a truth value"
        case .number: "a number"
        case .text: "a text"
        case .list: "a list"
        case .mapping: "a mapping"
        }
    }

    // MARK: Output

    /// One line of JSON. A text alone is shown without quotation marks, as yq does.
    package var line: String {
        if case .text(let text) = self { return text }
        return json
    }

    var json: String {
        switch self {
        case .null: return "null"
        case .flag(let flag): return flag ? "true" : "false"
        case .number(let number): return Self.text(of: number)
        case .text(let text): return Self.quoted(text)
        case .list(let values): return "[" + values.map(\.json).joined(separator: ",") + "]"
        case .mapping(let entries):
            return "{" + entries.map { Self.quoted($0.key) + ":" + $0.value.json }.joined(separator: ",") + "}"
        }
    }

    package var yaml: String {
        get throws { try Yams.serialize(node: node, width: -1, allowUnicode: true) }
    }

    private var node: Node {
        switch self {
        case .null: Node("null", Tag(.null))
        case .flag(let flag): Node(flag ? "true" : "false", Tag(.bool))
        case .number(let number): Node(Self.text(of: number), .implicit)
        case .text(let text): Node(text, Tag(.str), Self.style(of: text))
        case .list(let values): Node(values.map(\.node), .implicit, .block)
        case .mapping(let entries):
            Node(entries.map { (Node($0.key, Tag(.str), .any), $0.value.node) }, .implicit, .block)
        }
    }

    /// Scripts are shown as they are.
    private static func style(of text: String) -> Node.Scalar.Style {
        isPlain(text) ? .plain : text.contains("\n") ? .literal : .doubleQuoted
    }

    /// Whether YAML reads the text as a text without quotation marks.
    private static func isPlain(_ text: String) -> Bool {
        guard let first = text.first, first.isLetter || first == "/" else { return false }
        return !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(text.lowercased())
            && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+".contains($0)) }
    }

    static func text(of number: Double) -> String {
        number == number.rounded() && abs(number) < 1e15 ? String(Int(number)) : String(number)
    }

    private static func quoted(_ text: String) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        // A text can always be encoded.
        return (try? encoder.encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
    }
}

extension QueryValue: Comparable {
    /// Values of different kinds are ordered by kind, as in jq.
    package static func < (left: Self, right: Self) -> Bool {
        switch (left, right) {
        case (.number(let left), .number(let right)): left < right
        case (.text(let left), .text(let right)): left < right
        case (.flag(let left), .flag(let right)): !left && right
        default: left.rank < right.rank
        }
    }

    private var rank: Int {
        switch self {
        case .null: 0
        case .flag: 1
        case .number: 2
        case .text: 3
        case .list: 4
        case .mapping: 5
        }
    }
}
