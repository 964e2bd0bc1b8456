/// What a value looks like: how it is merged, and which keys are inside it.
package indirect enum Shape: Sendable {
    case scalar
    /// A list, with the keys of its elements if those are mappings with fixed keys.
    case list([any KeyDeclaration])
    /// A mapping whose keys a person chooses.
    case map
    /// A mapping whose keys are fixed.
    case record([any KeyDeclaration])
}

/// Merges the values that several files have for one key, by Lima's rules: a scalar is taken from the first file that has
/// it, lists are joined, mappings are merged key by key. Null counts as missing.
struct Merge {
    let findings: Findings
    /// Whether the layers after the first are bases that the first one names.
    var isOfBases = false

    /// - Parameter layers: the values, those that win first. There is at least one.
    func merged(
        _ layers: [ConfigurationNode], _ shape: Shape, _ merging: Merging = .byType, path: String = ""
    ) -> ConfigurationNode {
        let given = layers.filter { !$0.isNull }
        guard var result = given.first else { return layers[0] }
        switch (shape, result.content) {
        case _ where merging == .first: break
        case _ where merging == .newest: return given.reduce(result) { Version.isNewer($1, than: $0) ? $1 : $0 }
        case (.list, .list):
            var lists = given.map { node -> [ConfigurationNode] in
                if case .list(let elements) = node.content { return elements }
                wrong(node, "a list", path)
                return []
            }
            if merging == .basesFirst, isOfBases { lists = Array(lists.dropFirst() + lists.prefix(1)) }
            let joined = lists.flatMap { $0 }
            result.content = .list(merging == .unique ? withoutRepetitions(joined) : joined)
        case (.map, .mapping):
            result.content = .mapping(merged(given, path) { _ in (.scalar, .byType) })
        case (.record(let keys), .mapping):
            result.content = .mapping(
                merged(given, path) { name in
                    keys.first { $0.name == name }.map { ($0.shape, $0.facts.merging) } ?? (.scalar, .byType)
                })
        // The first value has the wrong type. Reading it records the fault.
        case (.scalar, _), (.list, _), (.map, _), (.record, _): break
        }
        return result
    }

    private func merged(
        _ layers: [ConfigurationNode], _ path: String, _ rule: (String) -> (Shape, Merging)
    ) -> [ConfigurationNode.Entry] {
        var order: [ConfigurationNode.Entry] = []
        var values: [String: [ConfigurationNode]] = [:]
        for node in layers {
            guard case .mapping(let entries) = node.content else {
                wrong(node, "a mapping", path)
                continue
            }
            for entry in entries {
                if values[entry.key] == nil { order.append(entry) }
                values[entry.key, default: []].append(entry.value)
            }
        }
        return order.map { entry in
            var entry = entry
            let inner = path.isEmpty ? entry.key : "\(path).\(entry.key)"
            let (shape, merging) = rule(entry.key)
            entry.value = merged(values[entry.key] ?? [entry.value], shape, merging, path: inner)
            return entry
        }
    }

    private func withoutRepetitions(_ elements: [ConfigurationNode]) -> [ConfigurationNode] {
        var seen: Set<String> = []
        return elements.filter { element in
            guard case .scalar(let text, _) = element.content else { return true }
            return seen.insert(text).inserted
        }
    }

    private func wrong(_ node: ConfigurationNode, _ expected: String, _ path: String) {
        findings.fault(node.place, "\(path): expected \(expected), found \(node.summary)")
    }
}

extension ConfigurationNode {
    var entries: [Entry] {
        if case .mapping(let entries) = content { entries } else { [] }
    }

    var elements: [ConfigurationNode] {
        if case .list(let elements) = content { elements } else { [] }
    }
}

/// Versions as `minimumLimaVersion` has them: numbers with dots between them.
enum Version {
    static func numbers(_ text: String) -> [Int]? {
        let parts = text.split(separator: "-").first?.split(separator: ".", omittingEmptySubsequences: false) ?? []
        let numbers = parts.compactMap { Int($0) }
        return numbers.count == parts.count && !parts.isEmpty ? numbers : nil
    }

    fileprivate static func isNewer(_ left: ConfigurationNode, than right: ConfigurationNode) -> Bool {
        guard case .scalar(let left, _) = left.content, case .scalar(let right, _) = right.content,
            let left = numbers(left), let right = numbers(right)
        else { return false }
        return right.lexicographicallyPrecedes(left)
    }
}
