import HostModel
import Yams

extension LimaYAML {
    /// The text of a template in which only the entries are written anew that its bases have changed. Comments of the
    /// template are kept, except within those entries; those of its bases are lost.
    /// - Parameter whole: the template with its bases merged into it.
    /// - Returns: nil if the text is written in a way that does not allow it.
    static func keepingComments(of template: ConfigurationText, in whole: ConfigurationNode) -> String? {
        guard !AliasKeys.areDangerous(in: template.text), let root = try? Yams.compose(yaml: template.text),
            let own = try? ConfigurationNode(parsing: template)
        else { return nil }
        var lines = template.text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(
            String.init)
        // Each entry is looked for among all lines and entries.
        guard own.entries.count <= 200 else { return nil }
        let merged = Dictionary(whole.entries.map { ($0.key, $0) }) { first, _ in first }
        // From the last entry to the first, so that the numbers of the lines before it stay true.
        for entry in own.entries.reversed() {
            let new = merged[entry.key]
            if let new, let old = try? entry.value.yaml, old == (try? new.value.yaml) { continue }
            guard let range = range(of: entry.key, root, lines) else { return nil }
            lines.replaceSubrange(range, with: new.flatMap(block).map { [$0] } ?? [])
        }
        let known = Set(own.entries.map(\.key))
        var additions: [String] = []
        for entry in whole.entries where !known.contains(entry.key) {
            guard let block = block(entry) else { return nil }
            additions.append(block)
        }
        while lines.last == "" { lines.removeLast() }
        let text = (lines + additions + [""]).joined(separator: "\n")
        // The change is on lines. What they mean afterwards shows whether it was the right one.
        guard let result = try? ConfigurationNode(parsing: ConfigurationText(text, file: template.file)),
            result.entries.count == whole.entries.count
        else { return nil }
        for entry in result.entries {
            guard let meant = merged[entry.key], let found = try? entry.value.yaml, found == (try? meant.value.yaml)
            else { return nil }
        }
        return text
    }

    /// The lines of one entry of the top level.
    private static func block(_ entry: ConfigurationNode.Entry) -> String? {
        let node = ConfigurationNode(place: entry.keyPlace, content: .mapping([entry]))
        return (try? node.yaml)?.trimmingNewlines
    }
}

extension String {
    fileprivate var trimmingNewlines: String {
        var text = self
        while text.last == "\n" { text.removeLast() }
        return text
    }
}
