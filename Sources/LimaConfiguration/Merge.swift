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
    /// Whether entries about one thing become one. A base leaves that to the template that includes it: an entry about `*`
    /// is for all entries before it, wherever they come from.
    var combines = true

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
            let merged =
                switch merging {
                case .unique: withoutRepetitions(joined)
                case .combined(let keys) where combines: Self.combined(joined, by: keys)
                case .combined, .byType, .first, .basesFirst, .newest: joined
                }
            result.content = .list(merged)
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

    /// Joins entries that are about one thing: what the first does not say is taken from the later ones. An entry about
    /// `*` is for all entries before it.
    /// - Parameter keys: what an entry is about, the value of the first of these keys that it has.
    private static func combined(_ elements: [ConfigurationNode], by keys: [String]) -> [ConfigurationNode] {
        var result: [ConfigurationNode] = []
        var places: [String: Int] = [:]
        for element in elements {
            let subject = subject(of: element, keys)
            if subject == "*" {
                for index in result.indices { result[index].takeWhatIsMissing(from: element, except: keys) }
            } else if let subject, let index = places[subject] {
                result[index] = result[index].named(by: keys[0])
                result[index].takeWhatIsMissing(from: element, except: [])
            } else {
                if let subject { places[subject] = result.count }
                result.append(element)
            }
        }
        return result
    }

    private static func subject(of element: ConfigurationNode, _ keys: [String]) -> String? {
        if case .scalar(let text, _) = element.content { return text }
        let values = keys.compactMap { key in element.entries.first { $0.key == key && !$0.value.isNull }?.value }
        guard case .scalar(let text, _)? = values.first?.content else { return nil }
        return text
    }

    private func wrong(_ node: ConfigurationNode, _ expected: String, _ path: String) {
        findings.fault(node.place, "\(path): expected \(expected), found \(node.summary)")
    }
}

extension ConfigurationNode {
    /// A name alone, as in `additionalDisks`, as a mapping.
    fileprivate func named(by key: String) -> ConfigurationNode {
        guard case .scalar = content else { return self }
        let name = Entry(key: key, keyPlace: place, value: self)
        return ConfigurationNode(place: place, content: .mapping([name]))
    }

    /// Of these keys, an entry of `networks` has one.
    private static let exclusive: Set<String> = ["lima", "socket"]

    fileprivate mutating func takeWhatIsMissing(from other: ConfigurationNode, except left: [String]) {
        guard !other.entries.isEmpty else { return }
        let whole = named(by: left.first ?? "name")
        guard case .mapping(var entries) = whole.content else { return }
        let isConnected = entries.contains { Self.exclusive.contains($0.key) && !$0.value.asksForNothing }
        for entry in other.entries where !left.contains(entry.key) {
            if isConnected, Self.exclusive.contains(entry.key) { continue }
            guard let index = entries.firstIndex(where: { $0.key == entry.key }) else {
                entries.append(entry)
                continue
            }
            if entries[index].value.isNull || entries[index].value.isEmptyList {
                entries[index].value = entry.value
            } else if case .mapping = entries[index].value.content {
                entries[index].value.takeWhatIsMissing(from: entry.value, except: [])
            }
        }
        self = ConfigurationNode(place: place, content: .mapping(entries))
    }

    private var isEmptyList: Bool { if case .list(let elements) = content { elements.isEmpty } else { false } }

    /// Whether the value only says that something is not wanted: null, false, an empty text, list or mapping.
    var asksForNothing: Bool {
        switch content {
        case .scalar(let text, _): isNull || text.isEmpty || text.lowercased() == "false" || text == "none"
        case .list(let elements): elements.isEmpty
        case .mapping(let entries): entries.allSatisfy(\.value.asksForNothing)
        }
    }

    package var entries: [Entry] {
        if case .mapping(let entries) = content { entries } else { [] }
    }

    var elements: [ConfigurationNode] {
        if case .list(let elements) = content { elements } else { [] }
    }
}

/// Versions as `minimumLimaVersion` has them: numbers with dots between them.
package enum Version {
    static func numbers(_ text: String) -> [Int]? {
        let parts = text.split(separator: "-").first?.split(separator: ".", omittingEmptySubsequences: false) ?? []
        let numbers = parts.compactMap { Int($0) }
        return numbers.count == parts.count && !parts.isEmpty ? numbers : nil
    }

    fileprivate static func isNewer(_ left: ConfigurationNode, than right: ConfigurationNode) -> Bool {
        guard case .scalar(let left, _) = left.content, case .scalar(let right, _) = right.content else { return false }
        return isNewer(left, than: right)
    }

    /// Whether the first version is newer. Numbers that are missing count as zero.
    package static func isNewer(_ left: String, than right: String) -> Bool {
        guard var left = numbers(left), var right = numbers(right) else { return false }
        while left.count < right.count { left.append(0) }
        while right.count < left.count { right.append(0) }
        return right.lexicographicallyPrecedes(left)
    }
}
