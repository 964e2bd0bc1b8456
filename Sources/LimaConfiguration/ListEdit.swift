import HostModel
import Yams

extension LimaYAML {
    /// The text of a `lima.yaml` with a list at the top level that was added to, or replaced. Everything else, including
    /// comments, stays as it is.
    /// - Parameters:
    ///   - elements: each is YAML on one line.
    ///   - replacing: the list has only these elements afterwards.
    /// - Throws: `HostError` with `.usage` if the list is written in a way that cannot be changed like this.
    package static func adding(
        _ elements: [String], to key: String, replacing: Bool = false, in text: String
    ) throws(HostError) -> String {
        let refusal = HostError(
            .usage, "the list \(key) is written in a way that options cannot change", hint: "edit the file instead")
        let old = try list(key, in: text)
        guard let root = AliasKeys.areDangerous(in: text) ? nil : try? Yams.compose(yaml: text) else { throw refusal }
        let changed: String
        let block = elements.isEmpty ? "\(key): []" : ([key + ":"] + elements.map { "- " + $0 }).joined(separator: "\n")
        var lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if let range = range(of: key, root, lines) {
            if replacing || old.isEmpty {
                lines.replaceSubrange(range, with: [block])
            } else if let first = lines[range].dropFirst().first(where: { $0.trimmed.hasPrefix("-") }) {
                let indent = String(first.prefix { $0 == " " })
                lines.insert(contentsOf: elements.map { indent + "- " + $0 }, at: range.upperBound)
            } else if let end = lines[range].last, end.trimmed.hasSuffix("]"), let bracket = end.lastIndex(of: "]") {
                lines[range.upperBound - 1] =
                    end[..<bracket] + ", " + elements.joined(separator: ", ") + end[bracket...]
            } else {
                throw refusal
            }
            changed = lines.joined(separator: "\n")
        } else {
            if lines.last == "" { lines.removeLast() }
            changed = (lines + [block, ""]).joined(separator: "\n")
        }
        // The change is on lines. What they mean afterwards shows whether it was the right one.
        guard let new = try? list(key, in: changed), new.count == (replacing ? 0 : old.count) + elements.count else {
            throw refusal
        }
        return changed
    }

    private static func list(_ key: String, in text: String) throws(HostError) -> [ConfigurationNode] {
        let node = try ConfigurationNode(parsing: ConfigurationText(text, file: "the template"))
        return node.entries.first { $0.key == key }?.value.elements ?? []
    }

    /// The lines of an entry of the top level, without comments and empty lines after it. A line of its own that looks like a
    /// comment, such as in a script, is indented.
    static func range(of key: String, _ root: Node, _ lines: [String]) -> Range<Int>? {
        let entries = root.mapping.map(Array.init) ?? []
        guard let index = entries.firstIndex(where: { $0.key.string == key }),
            let start = entries[index].key.mark.map({ $0.line - 1 }), lines.indices.contains(start)
        else { return nil }
        let next = entries.dropFirst(index + 1).first?.key.mark.map { $0.line - 1 }
        var end = min(max(next ?? lines.count, start + 1), lines.count)
        while end > start + 1, lines[end - 1].trimmed.isEmpty || lines[end - 1].hasPrefix("#") { end -= 1 }
        return start..<end
    }

    /// The text of a template whose images are only those of a variant. Comments are lost.
    /// - Parameters:
    ///   - key: `variant` or `archVariant`.
    /// - Throws: `HostError` with `.usage` if it has no such image.
    package static func keepingImages(
        whose key: String, is value: String, in text: ConfigurationText
    ) throws(HostError) -> ConfigurationText {
        var node = try ConfigurationNode(parsing: text)
        guard case .mapping(var entries) = node.content, let index = entries.firstIndex(where: { $0.key == "images" })
        else { return text }
        func variant(_ image: ConfigurationNode) -> String {
            guard case .scalar(let text, _)? = image.entries.first(where: { $0.key == key })?.value.content else {
                return ""
            }
            return text
        }
        let images = entries[index].value.elements
        let kept = images.filter { variant($0) == value }
        guard !kept.isEmpty else {
            let known = Set(images.map(variant)).filter { !$0.isEmpty }.sorted()
            throw HostError(
                .usage, "the template has no image with the \(key) \(InstanceName.quoted(value))",
                hint: known.isEmpty ? nil : "it has: \(known.joined(separator: ", "))")
        }
        entries[index].value.content = .list(kept)
        node.content = .mapping(entries)
        return ConfigurationText(try node.yaml, file: text.file)
    }
}
