import HostModel

/// Reads templates, from wherever they are.
package protocol TemplateReader: Sendable {
    /// - Throws: `HostError` if there is no such template or it cannot be read.
    func text(of locator: Locator) async throws(HostError) -> ConfigurationText
}

/// Merges the bases that a template names into it, and the files that its scripts name. An instance's `lima.yaml` is made
/// from the result, so it depends on no other file.
///
/// The rules are Lima's: the bases of a list are merged from the first to the last, each with its own bases; of a scalar,
/// the template's own value counts, then that of the first base that has it; lists are joined, those of `provision`,
/// `probes` and `base` with the base's elements first.
package struct BaseEmbedding: Sendable {
    private let reader: any TemplateReader

    /// The size in bytes of all templates that one may consist of. It is Lima's.
    private static let maximumSize = 4 << 20

    package init(reader: any TemplateReader) { self.reader = reader }

    /// - Parameter first: a base of every template, which comes before its own; nil if there is none.
    /// - Returns: a text with the comments of the template itself.
    /// - Throws: `HostError` with the place of the `base` or `file` that is wrong.
    package func embedded(
        _ text: ConfigurationText, at locator: Locator, after first: Locator? = nil
    ) async throws(HostError) -> ConfigurationText {
        let node = try ConfigurationNode(parsing: text)
        guard first != nil || Self.namesOtherFiles(node) else { return text }
        var work = Work(reader: reader, remainingBytes: Self.maximumSize - text.text.utf8.count)
        let whole = try await work.embedded(node, at: locator, after: first, within: [locator])
        if let kept = LimaYAML.keepingComments(of: text, in: whole) { return ConfigurationText(kept, file: text.file) }
        return ConfigurationText(try whole.yaml, file: text.file)
    }

    private static func namesOtherFiles(_ node: ConfigurationNode) -> Bool {
        node.entries.contains { entry in
            switch entry.key {
            case "base": true
            case "provision", "probes": entry.value.elements.contains { $0.entries.contains { $0.key == "file" } }
            default: false
            }
        }
    }

    /// One embedding under way.
    private struct Work {
        let reader: any TemplateReader
        var remainingBytes: Int

        /// - Parameter chain: the templates that led here, this one included.
        mutating func embedded(
            _ node: ConfigurationNode, at locator: Locator, after first: Locator? = nil, within chain: [Locator]
        ) async throws(HostError) -> ConfigurationNode {
            var layers = [try await withScripts(node, at: locator)]
            if let first {
                let text = try await read(first, for: node, "base")
                let base = try ConfigurationNode(parsing: text)
                layers.append(try await embedded(base, at: first, within: chain + [first]))
            }
            for base in node.entries.first(where: { $0.key == "base" }).map({ Self.list($0.value) }) ?? [] {
                let inner = try Self.locator(base, "base", within: locator)
                if let start = chain.firstIndex(of: inner) {
                    let circle = (chain[start...] + [inner]).map(\.description).joined(separator: " → ")
                    throw HostError(
                        .badConfiguration, "\(base.place): base: the templates include each other: \(circle)")
                }
                let text = try await read(inner, for: base, "base")
                layers.append(
                    try await embedded(try ConfigurationNode(parsing: text), at: inner, within: chain + [inner]))
            }
            let findings = Findings()
            let merged = Merge(findings: findings, isOfBases: true, combines: chain.count == 1)
                .merged(layers, .record(LimaYAML.keys))
            try findings.throwIfFaulty(file: node.place.file)
            return merged
        }

        /// The template without `base`, and with the texts of its scripts in the place of the files that they are in.
        private mutating func withScripts(
            _ node: ConfigurationNode, at locator: Locator
        ) async throws(HostError) -> ConfigurationNode {
            var entries: [ConfigurationNode.Entry] = []
            for var entry in node.entries where entry.key != "base" {
                if ["provision", "probes"].contains(entry.key), case .list(let elements) = entry.value.content {
                    var whole: [ConfigurationNode] = []
                    for element in elements { whole.append(try await withScript(element, entry.key, at: locator)) }
                    entry.value.content = .list(whole)
                }
                entries.append(entry)
            }
            return ConfigurationNode(place: node.place, content: .mapping(entries))
        }

        private mutating func withScript(
            _ element: ConfigurationNode, _ key: String, at locator: Locator
        ) async throws(HostError) -> ConfigurationNode {
            guard let index = element.entries.firstIndex(where: { $0.key == "file" }) else { return element }
            let file = element.entries[index]
            guard !element.entries.contains(where: { $0.key == "script" }) else {
                throw HostError(.badConfiguration, "\(file.keyPlace): \(key): an entry has either a file or a script")
            }
            let inner = try Self.locator(file.value, "\(key): file", within: locator)
            let text = try await read(inner, for: file.value, "\(key): file")
            var entries = element.entries
            let script = ConfigurationNode(place: file.value.place, content: .scalar(text.text, isPlain: false))
            entries[index] = ConfigurationNode.Entry(key: "script", keyPlace: file.keyPlace, value: script)
            return ConfigurationNode(place: element.place, content: .mapping(entries))
        }

        /// Reads another file, and says which line asked for it if that fails.
        private mutating func read(
            _ locator: Locator, for node: ConfigurationNode, _ key: String
        ) async throws(HostError) -> ConfigurationText {
            let text: ConfigurationText
            do throws(HostError) {
                text = try await reader.text(of: locator)
            } catch {
                throw HostError(error.code, "\(node.place): \(key): \(error.message)", hint: error.hint)
            }
            remainingBytes -= text.text.utf8.count
            guard remainingBytes >= 0 else {
                throw HostError(
                    .badConfiguration,
                    "\(node.place): \(key): the template and what it includes have more than "
                        + ByteCount.format(BaseEmbedding.maximumSize))
            }
            return text
        }

        /// A value, or the elements of a list.
        private static func list(_ node: ConfigurationNode) -> [ConfigurationNode] {
            if node.isNull { return [] }
            if case .list(let elements) = node.content { return elements }
            return [node]
        }

        /// A locator is a text, or a mapping with the key `url`.
        private static func locator(
            _ node: ConfigurationNode, _ key: String, within outer: Locator
        ) throws(HostError) -> Locator {
            var text = node
            if case .mapping(let entries) = node.content {
                if let digest = entries.first(where: { $0.key == "digest" && !$0.value.isNull }) {
                    throw HostError(.badConfiguration, "\(digest.keyPlace): \(key): a template cannot have a digest")
                }
                guard let url = entries.first(where: { $0.key == "url" }) else {
                    throw HostError(
                        .badConfiguration, "\(node.place): \(key): expected a locator, or a mapping with url")
                }
                text = url.value
            }
            guard case .scalar(let words, _) = text.content else {
                throw HostError(.badConfiguration, "\(text.place): \(key): expected a locator, found \(text.summary)")
            }
            do throws(HostError) {
                let locator = try Locator(words, within: outer)
                guard locator != .standardInput else {
                    throw HostError(.badConfiguration, "standard input cannot be included")
                }
                return locator
            } catch {
                throw HostError(error.code, "\(text.place): \(key): \(error.message)", hint: error.hint)
            }
        }
    }
}
