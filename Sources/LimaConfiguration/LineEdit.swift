import HostModel
import Yams

extension LimaYAML {
    /// The text of a `lima.yaml` with one value set. Everything else, including comments, stays as it is.
    /// - Parameters:
    ///   - path: a key, or keys joined by dots: `cpus`, `ssh.localPort`.
    ///   - value: YAML on one line.
    /// - Throws: `HostError` with `.usage` if the value cannot be set by changing a single line.
    package static func setting(_ path: String, to value: String, in text: String) throws(HostError) -> String {
        let keys = path.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        let isWord: (String) -> Bool = {
            !$0.isEmpty && $0.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "_-".contains($0)) }
        }
        let isQuoted = value.hasPrefix("\"") && value.hasSuffix("\"") && value.count > 1
        let isComment = !isQuoted && (value.trimmed.hasPrefix("#") || value.contains(" #"))
        guard keys.allSatisfy(isWord), !value.contains(where: \.isNewline), !value.trimmed.isEmpty, !isComment
        else {
            throw HostError(
                .usage,
                "--set takes a key, =, and a value on one line without a comment, such as cpus=4 or ssh.localPort=60022"
            )
        }
        let root: Node?
        do {
            root = AliasKeys.areDangerous(in: text) ? nil : try Yams.compose(yaml: text)
        } catch {
            throw HostError(.badConfiguration, "the file is not YAML as it is", hint: "edit it without --set")
        }
        // Split by Unicode scalars: in Swift, a carriage return and a line feed form one character.
        var lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        var node = root
        var depth = 0
        while depth < keys.count, let next = node?.mapping?.first(where: { $0.key.string == keys[depth] })?.value {
            node = next
            depth += 1
        }
        if depth == keys.count, let node {
            guard case .scalar(let scalar) = node, let mark = node.mark else {
                throw HostError(.usage, "\(path) is not a plain value on one line", hint: "edit the file without --set")
            }
            // The parser counts columns in Unicode scalars.
            let line = lines.indices.contains(mark.line - 1) ? Array(lines[mark.line - 1].unicodeScalars) : []
            guard line.count >= mark.column - 1 else {
                throw HostError(.usage, "\(path) is not where it seems to be", hint: "edit the file without --set")
            }
            let (before, after) = (line[..<(mark.column - 1)], line[(mark.column - 1)...])
            // A value that is folded over several lines is only partly on this line.
            guard let old = written(scalar, at: after) else {
                throw HostError(.usage, "\(path) is not a plain value on one line", hint: "edit the file without --set")
            }
            var changed = String.UnicodeScalarView(before)
            // A key without a value may have no space after its colon.
            if changed.last == ":" { changed.append(" ") }
            changed.append(contentsOf: value.unicodeScalars)
            changed.append(contentsOf: after.dropFirst(old))
            lines[mark.line - 1] = String(changed)
            return lines.joined(separator: "\n")
        }
        let nested = keys.dropFirst(depth + 1).reversed().reduce(value) { inner, key in "{\(key): \(inner)}" }
        let entry = "\(keys[depth]): \(nested)"
        if depth > 0, let node {
            if node.null != nil {
                return try setting(keys[..<depth].joined(separator: "."), to: "{\(entry)}", in: text)
            }
            guard let changed = adding(entry, to: node, in: lines) else {
                throw HostError(
                    .usage, "\(keys[..<depth].joined(separator: ".")) is written in a way that --set cannot add to",
                    hint: "edit the file without --set")
            }
            return changed
        }
        if lines.last == "" { lines.removeLast() }
        return (lines + [entry, ""]).joined(separator: "\n")
    }

    /// How many characters of its line a scalar has; nil if it goes on in the next line.
    private static func written(_ scalar: Node.Scalar, at line: ArraySlice<Unicode.Scalar>) -> Int? {
        guard let quote = line.first, quote == "\"" || quote == "'" else {
            let plain = Array(scalar.string.unicodeScalars)
            return line.starts(with: plain) ? plain.count : nil
        }
        var index = line.startIndex + 1
        while index < line.endIndex {
            if quote == "\"", line[index] == "\\" {
                index += 2
            } else if line[index] != quote {
                index += 1
            } else if quote == "'", index + 1 < line.endIndex, line[index + 1] == quote {
                index += 2
            } else {
                return index + 1 - line.startIndex
            }
        }
        return nil
    }

    /// The lines with an entry added at the beginning of a mapping; nil if its form is not known.
    private static func adding(_ entry: String, to node: Node, in lines: [String]) -> String? {
        guard let mapping = node.mapping, let mark = node.mark, let place = mapping.first?.key.mark ?? node.mark,
            lines.indices.contains(mark.line - 1), lines.indices.contains(place.line - 1)
        else { return nil }
        var lines = lines
        // The parser does not tell how a mapping is written, but where it begins: with its brace, or with its first key.
        let line = Array(lines[mark.line - 1].unicodeScalars)
        if line.indices.contains(mark.column - 1), line[mark.column - 1] == "{" {
            var changed = String.UnicodeScalarView(line[..<mark.column])
            changed.append(contentsOf: (entry + (mapping.isEmpty ? "" : ", ")).unicodeScalars)
            changed.append(contentsOf: line[mark.column...])
            lines[mark.line - 1] = String(changed)
        } else {
            lines.insert(String(repeating: " ", count: place.column - 1) + entry, at: place.line - 1)
        }
        return lines.joined(separator: "\n")
    }
}
