/// A configuration as data for other programs: what the files say together, in the form of `lima.yaml`. It has the defaults
/// of the keys that are left out at the top level, and in mappings that are there.
package indirect enum ConfigurationDocument: Codable, Sendable, Equatable {
    case null
    case flag(Bool)
    case integer(Int)
    case text(String)
    case list([ConfigurationDocument])
    case mapping([String: ConfigurationDocument])

    /// The values of a mapping with fixed keys, and the defaults of those that it leaves out.
    init(_ entries: [ConfigurationNode.Entry], _ keys: [any KeyDeclaration]) {
        self = Self.record(entries, keys, fills: true)
    }

    private static func record(
        _ entries: [ConfigurationNode.Entry], _ keys: [any KeyDeclaration], fills: Bool
    ) -> Self {
        var values: [String: Self] = [:]
        if fills {
            for key in keys {
                values[key.name] = key.defaultText.map { $0 == "\"\"" ? .text("") : Self($0, key.scalarKind) }
            }
        }
        // Null counts as missing.
        for entry in entries where !entry.value.isNull {
            let key = keys.first { $0.name == entry.key }
            values[entry.key] = Self(entry.value, key?.shape ?? .scalar, key?.scalarKind ?? .asWritten, fills: fills)
        }
        return .mapping(values)
    }

    private init(_ node: ConfigurationNode, _ shape: Shape, _ kind: ScalarKind, fills: Bool) {
        switch node.content {
        case .scalar(let text, isPlain: false): self = .text(text)
        case .scalar(let text, isPlain: true): self = node.isNull ? .null : Self(text, kind)
        case .list(let elements):
            var keys: [any KeyDeclaration] = []
            if case .list(let declared) = shape { keys = declared }
            // What an element leaves out may depend on what it says.
            self = .list(elements.map { Self($0, .record(keys), .asWritten, fills: false) })
        case .mapping(let entries):
            if case .record(let keys) = shape {
                self = Self.record(entries, keys, fills: fills)
            } else {
                // In a mapping whose keys a person chooses, everything is text, and null is the empty one.
                let values = entries.map { entry in
                    (entry.key, entry.value.isNull ? .text("") : Self(entry.value, .map, .text, fills: false))
                }
                self = .mapping(Dictionary(values) { first, _ in first })
            }
        }
    }

    /// A scalar without quotation marks.
    private init(_ text: String, _ kind: ScalarKind) {
        let flags = ["true": true, "false": false]
        switch kind {
        case .text: self = .text(text)
        case .flag: self = flags[text.lowercased()].map { .flag($0) } ?? .text(text)
        case .integer: self = Int(text).map { .integer($0) } ?? .text(text)
        case .asWritten:
            if let flag = flags[text] {
                self = .flag(flag)
            } else {
                // Only a number that is written as JSON writes it stays the same.
                self = Int(text).flatMap { String($0) == text ? .integer($0) : nil } ?? .text(text)
            }
        }
    }

    /// The same with values for keys at the top level that the files leave out.
    func adding(_ standard: [String: String]) -> Self {
        guard case .mapping(let values) = self else { return self }
        return .mapping(values.merging(standard.mapValues { .text($0) }) { given, _ in given })
    }

    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let flag = try? value.decode(Bool.self) {
            self = .flag(flag)
        } else if let integer = try? value.decode(Int.self) {
            self = .integer(integer)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([Self].self) {
            self = .list(list)
        } else {
            self = .mapping(try value.decode([String: Self].self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .flag(let flag): try container.encode(flag)
        case .integer(let integer): try container.encode(integer)
        case .text(let text): try container.encode(text)
        case .list(let list): try container.encode(list)
        case .mapping(let values): try container.encode(values)
        }
    }
}
