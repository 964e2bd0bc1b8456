import Crypto
import Foundation

/// A digest of the value of each key at the top level that a configuration has. Two digests of a key differ if its value
/// was changed. Comments and layout do not count.
package struct KeyDigests: Sendable, Equatable {
    private var digests: [String: String] = [:]

    /// When a change of each supported key counts, by the tables of keys.
    private static let effects: [String: Effect] = {
        var effects: [String: Effect] = [:]
        for key in LimaYAML.keys + Settings.keys where key.facts.support.isSupported {
            effects[key.name] = key.facts.effect
        }
        return effects
    }()

    package init() {}

    /// - Parameter digest: one of `digest` and `text`.
    init(of node: ConfigurationNode, by digest: (ConfigurationNode) -> String) {
        for entry in node.entries { digests[entry.key] = digest(entry.value) }
    }

    /// Adds the keys of another file.
    package func merging(_ other: KeyDigests) -> KeyDigests {
        var result = self
        result.digests.merge(other.digests) { first, _ in first }
        return result
    }

    /// The digests of the keys that count only from a start of the guest. They are kept in its record.
    package var fixedAtStart: [String: String] {
        digests.filter { Self.effects[$0.key] == .start }
    }

    /// The keys with other values than in an earlier configuration.
    package func changes(since earlier: KeyDigests, where isWanted: (Effect) -> Bool) -> Set<String> {
        changes(since: earlier.digests, where: isWanted)
    }

    /// The keys with other values than the guest was started with.
    /// - Parameter started: `fixedAtStart` of its start. Another version of this program may have made it.
    package func changes(sinceStart started: [String: String]) -> Set<String> {
        changes(since: started) { $0 == .start }
    }

    private func changes(since earlier: [String: String], where isWanted: (Effect) -> Bool) -> Set<String> {
        Set(digests.keys).union(earlier.keys).filter { key in
            digests[key] != earlier[key] && Self.effects[key].map(isWanted) ?? false
        }
    }

    /// The text of a scalar. Records have it for keys of `hostagent.yaml` since version 0.1.
    static func text(_ node: ConfigurationNode) -> String {
        if case .scalar(let text, _) = node.content { text } else { digest(node) }
    }

    /// A hash of the value. It is written without leading zeros, as version 0.1 kept it in records that are still
    /// compared with.
    static func digest(_ node: ConfigurationNode) -> String {
        var function = SHA256()
        feed(node, to: &function)
        return function.finalize().prefix(8).map { String($0, radix: 16) }.joined()
    }

    private static func feed(_ node: ConfigurationNode, to function: inout SHA256) {
        switch node.content {
        case .scalar(let text, _): function.update(data: Data("s\(text.utf8.count) \(text)".utf8))
        case .mapping(let entries):
            function.update(data: Data("m\(entries.count) ".utf8))
            for entry in entries {
                function.update(data: Data("s\(entry.key.utf8.count) \(entry.key)".utf8))
                feed(entry.value, to: &function)
            }
        case .list(let elements):
            function.update(data: Data("l\(elements.count) ".utf8))
            for element in elements { feed(element, to: &function) }
        }
    }
}
