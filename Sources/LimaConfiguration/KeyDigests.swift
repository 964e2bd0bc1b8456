import Crypto
import Foundation

/// The values of the keys at the top level of a configuration, in a form that can be kept in a record and compared. Two
/// digests of a key differ if its value was changed. Comments, layout, null and keys that are not supported do not count.
package struct KeyDigests: Sendable, Equatable {
    private struct Digest: Sendable, Equatable {
        /// Of what counts from a start of the guest, or at once; nil if the value has no such part.
        var ofEffect: String?
        /// Of what counts only when the instance is created; nil if the value has no such part.
        var ofCreation: String?
        /// Of all that the file says. Records of earlier versions hold it.
        var ofAll: String
    }
    private var digests: [String: Digest] = [:]

    /// When a change of each supported key counts, by the tables of keys.
    private static let effects: [String: Effect] = {
        var effects: [String: Effect] = [:]
        for key in LimaYAML.keys + Settings.keys where key.facts.support.isSupported {
            effects[key.name] = key.facts.effect
        }
        return effects
    }()

    package init() {}

    /// - Parameter scalarsAsText: whether a scalar stands for itself. Records have the text of keys of `hostagent.yaml`.
    init(of node: ConfigurationNode, _ keys: [any KeyDeclaration], scalarsAsText: Bool = false) {
        let effective = Selection(wantsCreation: false).selected(node, .record(keys), effect: nil)?.entries ?? []
        let creation = Selection(wantsCreation: true).selected(node, .record(keys), effect: nil)?.entries ?? []
        for entry in node.entries {
            func digest(_ node: ConfigurationNode) -> String {
                if scalarsAsText, case .scalar(let text, _) = node.content { return text }
                return Self.digest(node)
            }
            let ofEffect = effective.first { $0.key == entry.key }.map { digest($0.value) }
            let ofCreation = creation.first { $0.key == entry.key }.map { digest($0.value) }
            if ofEffect == nil, ofCreation == nil { continue }
            digests[entry.key] = Digest(ofEffect: ofEffect, ofCreation: ofCreation, ofAll: digest(entry.value))
        }
    }

    /// Adds the keys of another file.
    package func merging(_ other: KeyDigests) -> KeyDigests {
        var result = self
        result.digests.merge(other.digests) { first, _ in first }
        return result
    }

    /// One digest of all the keys. Two configurations with the same mean the same.
    package var combined: String {
        var function = SHA256()
        for (key, digest) in digests.sorted(by: { $0.key < $1.key }) {
            function.update(data: Data("\(key) \(digest.ofAll)\n".utf8))
        }
        return function.finalize().prefix(8).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// The digests of the keys that count only from a start of the guest. They are kept in its record.
    package var fixedAtStart: [String: String] {
        var fixed = digests.filter { Self.effects[$0.key] == .start }.compactMapValues(\.ofEffect)
        fixed[Self.holdsDisk] = "1"
        return fixed
    }

    /// Marks a record that holds the digest of `disk`. In those of version 0.2 it counted at creation only.
    private static let holdsDisk = "@disk"

    /// The keys whose values differ from an earlier configuration, and which count as told.
    package func changes(since earlier: KeyDigests, where isWanted: (Effect) -> Bool) -> Set<String> {
        keys(and: earlier.digests.keys, where: isWanted) { digests[$0]?.ofEffect != earlier.digests[$0]?.ofEffect }
    }

    /// The keys with parts that differ from an earlier configuration, and count only when an instance is created.
    package func changesOfCreation(since earlier: KeyDigests) -> Set<String> {
        keys(and: earlier.digests.keys, where: { _ in true }) {
            digests[$0]?.ofCreation != earlier.digests[$0]?.ofCreation
        }
    }

    /// The keys with other values than the guest was started with.
    /// - Parameter started: `fixedAtStart` of its start. Another version of this program may have made it.
    package func changes(sinceStart started: [String: String]) -> Set<String> {
        keys(and: started.keys, where: { $0 == .start }) { key in
            if key == "disk", started[Self.holdsDisk] == nil { return false }
            return digests[key]?.ofEffect != started[key] && digests[key]?.ofAll != started[key]
        }
    }

    private func keys(
        and others: some Sequence<String>, where isWanted: (Effect) -> Bool, differ: (String) -> Bool
    ) -> Set<String> {
        Set(digests.keys).union(others).filter { Self.effects[$0].map(isWanted) ?? false && differ($0) }
    }

    /// A hash of the value. It is written without leading zeros, as version 0.1 kept it in records that are still
    /// compared with.
    private static func digest(_ node: ConfigurationNode) -> String {
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

/// The part of a value that counts when an instance is created, or the part that counts later.
private struct Selection {
    let wantsCreation: Bool

    /// Nil if nothing of the value belongs to the part.
    func selected(_ node: ConfigurationNode, _ shape: Shape, effect: Effect?) -> ConfigurationNode? {
        if node.isNull { return nil }
        switch (shape, node.content) {
        case (.record(let keys), .mapping(let entries)):
            let kept = entries.compactMap { entry -> ConfigurationNode.Entry? in
                guard let key = keys.first(where: { $0.name == entry.key }), key.facts.support.isSupported else {
                    return nil
                }
                guard let value = selected(entry.value, key.shape, effect: key.facts.effect ?? effect) else {
                    return nil
                }
                return ConfigurationNode.Entry(key: entry.key, keyPlace: entry.keyPlace, value: value)
            }
            return kept.isEmpty ? nil : ConfigurationNode(place: node.place, content: .mapping(kept))
        case (.list(let keys), .list(let elements)) where !keys.isEmpty:
            let kept = elements.compactMap { selected($0, .record(keys), effect: effect) }
            return kept.isEmpty && !elements.isEmpty
                ? nil : ConfigurationNode(place: node.place, content: .list(kept))
        default:
            return (effect == .creation) == wantsCreation ? node : nil
        }
    }
}
