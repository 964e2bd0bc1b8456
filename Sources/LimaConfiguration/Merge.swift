/// What a value looks like, as far as merging and the table of keys are concerned.
package indirect enum Shape: Sendable {
    case scalar
    /// A list, with the keys of its elements if those are mappings with fixed keys.
    case list([any KeyDeclaration])
    /// A mapping whose keys a person chooses.
    case map
    /// A mapping whose keys are fixed.
    case record([any KeyDeclaration])
}

extension ConfigurationNode {
    /// Merges the values that several files have for one key, by Lima's rules: a scalar is taken from the first file that
    /// has it, lists are joined, mappings are merged key by key. Null counts as missing.
    /// - Parameter layers: the values, those that win first. There is at least one.
    static func merged(_ layers: [ConfigurationNode], _ shape: Shape) -> ConfigurationNode {
        let given = layers.filter { !$0.isNull }
        guard var result = given.first else { return layers[0] }
        switch (shape, result.content) {
        case (.list, .list): result.content = .list(given.flatMap(\.elements))
        case (.map, .mapping): result.content = .mapping(merged(given) { _ in .scalar })
        case (.record(let keys), .mapping):
            result.content = .mapping(
                merged(given) { name in
                    keys.first { $0.name == name }.map(\.shapeForMerging) ?? .scalar
                })
        // The value of the first file has the wrong type. Reading it will say so.
        case (.scalar, _), (.list, _), (.map, _), (.record, _): break
        }
        return result
    }

    private static func merged(_ layers: [ConfigurationNode], _ shape: (String) -> Shape) -> [Entry] {
        var order: [Entry] = []
        var values: [String: [ConfigurationNode]] = [:]
        for entry in layers.flatMap(\.entries) {
            if values[entry.key] == nil { order.append(entry) }
            values[entry.key, default: []].append(entry.value)
        }
        return order.map { entry in
            var entry = entry
            entry.value = merged(values[entry.key] ?? [entry.value], shape(entry.key))
            return entry
        }
    }

    private var elements: [ConfigurationNode] {
        if case .list(let elements) = content { elements } else { [] }
    }

    var entries: [Entry] {
        if case .mapping(let entries) = content { entries } else { [] }
    }
}
