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

    /// - Parameter layers: the values, those that win first. There is at least one.
    func merged(_ layers: [ConfigurationNode], _ shape: Shape, path: String = "") -> ConfigurationNode {
        let given = layers.filter { !$0.isNull }
        guard var result = given.first else { return layers[0] }
        switch (shape, result.content) {
        case (.list, .list):
            result.content = .list(
                given.flatMap { node in
                    if case .list(let elements) = node.content { return elements }
                    wrong(node, "a list", path)
                    return []
                })
        case (.map, .mapping):
            result.content = .mapping(merged(given, path) { _ in .scalar })
        case (.record(let keys), .mapping):
            result.content = .mapping(
                merged(given, path) { name in
                    keys.first { $0.name == name }.map(\.shapeForMerging) ?? .scalar
                })
        // The first value has the wrong type. Reading it records the fault.
        case (.scalar, _), (.list, _), (.map, _), (.record, _): break
        }
        return result
    }

    private func merged(
        _ layers: [ConfigurationNode], _ path: String, _ shape: (String) -> Shape
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
            entry.value = merged(values[entry.key] ?? [entry.value], shape(entry.key), path: inner)
            return entry
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
}
