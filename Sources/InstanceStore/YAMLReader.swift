import HostModel
import Yams

/// A fault in a YAML file, and its position.
package struct Fault: Sendable, Equatable, Comparable {
    package let line: Int
    package let column: Int
    package let message: String

    package static func < (left: Self, right: Self) -> Bool {
        (left.line, left.column, left.message) < (right.line, right.column, right.message)
    }
}

/// Collects all faults and warnings of one file, so that a person can fix them all at once.
final class Findings {
    var faults: [Fault] = []
    var warnings: [Fault] = []

    func fault(_ mark: Mark?, _ message: String) {
        faults.append(Fault(line: mark?.line ?? 1, column: mark?.column ?? 1, message: message))
    }

    func warn(_ mark: Mark?, _ message: String) {
        warnings.append(Fault(line: mark?.line ?? 1, column: mark?.column ?? 1, message: message))
    }

    /// - Throws: `HostError` with `.badConfiguration` if there are faults. Each has its own line.
    func throwIfFaulty(file: String) throws(HostError) {
        guard !faults.isEmpty else { return }
        let count = faults.count == 1 ? "a mistake" : "\(faults.count) mistakes"
        let lines = faults.sorted().map { "  \(file):\($0.line):\($0.column): \($0.message)" }
        throw HostError(.badConfiguration, "\(file) has \(count):\n" + lines.joined(separator: "\n"))
    }
}

/// One YAML value with its position and path. Reads values of the expected type and records a fault for others. It only
/// descends where a caller asks, so that aliases that expand exponentially cost nothing.
struct YAMLValue {
    /// The path in the file, such as `images[0].kernel.cmdline`.
    let path: String
    let node: Node
    let findings: Findings

    /// The size of the largest file that is read, in bytes.
    static let maximumSize = 1 << 20

    /// Parses the text of a file. Its top level must be a mapping.
    /// - Throws: `HostError` with `.badConfiguration` if the text is not YAML or not a mapping.
    static func root(of text: String, file: String, findings: Findings) throws(HostError) -> YAMLValue {
        guard text.utf8.count <= maximumSize else {
            throw HostError(
                .badConfiguration, "\(file) has \(text.utf8.count) bytes, more than the \(maximumSize) that are read")
        }
        let node: Node?
        do {
            node = try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw HostError(.badConfiguration, "\(file) is not YAML: \(Self.describe(error))")
        } catch {
            throw HostError(.badConfiguration, "\(file) is not YAML: \(error)")
        }
        guard let node else {
            throw HostError(.badConfiguration, "\(file) is empty", hint: "start from: hostagent create mini")
        }
        guard node.mapping != nil else {
            throw HostError(.badConfiguration, "\(file):1:1: expected a mapping of keys, found \(describe(node))")
        }
        return YAMLValue(path: "", node: node, findings: findings)
    }

    private static func describe(_ error: YamlError) -> String {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            "line \(mark.line), column \(mark.column): \(problem)"
        case .duplicatedKeysInMapping(let keys, _):
            "the key \(keys.map(\.description).joined(separator: ", ")) appears twice"
        default: "\(error)".split(separator: "\n").first.map(String.init) ?? "\(error)"
        }
    }

    static func describe(_ node: Node) -> String {
        switch node {
        case .scalar(let scalar): scalar.string.isEmpty ? "nothing" : InstanceName.quoted(scalar.string)
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .alias: "an alias"
        }
    }

    func fault(_ message: String) {
        findings.fault(node.mark, path.isEmpty ? message : "\(path): \(message)")
    }

    private func expected(_ what: String) { fault("expected \(what), found \(Self.describe(node))") }

    private var isNull: Bool {
        guard case .scalar(let scalar) = node else { return false }
        return scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    /// The values of a mapping by key. An unknown key is a fault, and a key in `ignored` is a warning.
    func fields(known: Set<String>, ignored: Set<String> = []) -> [String: YAMLValue] {
        guard let mapping = node.mapping else {
            expected("a mapping")
            return [:]
        }
        var fields: [String: YAMLValue] = [:]
        for (key, value) in mapping {
            guard let name = key.scalar?.string else {
                findings.fault(key.mark, "\(path.isEmpty ? "the file" : path): a key must be a word")
                continue
            }
            let full = path.isEmpty ? name : "\(path).\(name)"
            if known.contains(name) {
                let field = YAMLValue(path: full, node: value, findings: findings)
                if !field.isNull { fields[name] = field }
            } else if ignored.contains(name) {
                findings.warn(key.mark, "\(full): hostagent does not have this yet, it is ignored")
            } else {
                let near = (known.union(ignored)).min { distance($0, name) < distance($1, name) }
                let hint = near.flatMap { distance($0, name) <= 2 ? "; did you mean \($0)?" : nil } ?? ""
                findings.fault(key.mark, "\(full): unknown key\(hint)")
            }
        }
        return fields
    }

    /// The entries of a mapping that may have any keys.
    func entries() -> [(key: String, value: YAMLValue)] {
        guard let mapping = node.mapping else {
            expected("a mapping")
            return []
        }
        return mapping.compactMap { key, value in
            guard let name = key.scalar?.string else {
                findings.fault(key.mark, "\(path): a key must be a word")
                return nil
            }
            return (name, YAMLValue(path: "\(path).\(name)", node: value, findings: findings))
        }
    }

    func elements() -> [YAMLValue] {
        guard let sequence = node.sequence else {
            expected("a list")
            return []
        }
        return sequence.enumerated().map { index, element in
            YAMLValue(path: "\(path)[\(index)]", node: element, findings: findings)
        }
    }

    /// The text of any scalar.
    func text() -> String? {
        guard let scalar = node.scalar else {
            expected("text")
            return nil
        }
        return scalar.string
    }

    func integer(in range: ClosedRange<Int>) -> Int? {
        guard let scalar = node.scalar, scalar.style == .plain, let number = Int(scalar.string) else {
            expected("a whole number")
            return nil
        }
        guard range.contains(number) else {
            fault("\(number) is outside \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    func boolean() -> Bool? {
        switch node.scalar.flatMap({ $0.style == .plain ? $0.string.lowercased() : nil }) {
        case "true": return true
        case "false": return false
        default:
            expected("true or false")
            return nil
        }
    }

    /// One of the words of an enumeration.
    func word<Choice: RawRepresentable & CaseIterable>(_ type: Choice.Type) -> Choice? where Choice.RawValue == String {
        if let choice = node.scalar.flatMap({ Choice(rawValue: $0.string) }) { return choice }
        expected(Choice.allCases.map(\.rawValue).joined(separator: " or "))
        return nil
    }

    /// A size in bytes, such as `4GiB` or `512MiB`. Units are powers of 1024, as in RAMInBytes of go-units, which Lima
    /// uses.
    func size(in range: ClosedRange<Int>) -> Int? {
        guard let scalar = node.scalar, let bytes = ByteCount.parse(scalar.string) else {
            expected("a size such as 4GiB")
            return nil
        }
        guard range.contains(bytes) else {
            let limits = "\(ByteCount.format(range.lowerBound)) to \(ByteCount.format(range.upperBound))"
            fault("\(scalar.string) is outside \(limits)")
            return nil
        }
        return bytes
    }

    /// A duration in seconds, such as `90s`, `2m` or `1m30s`.
    func duration(in range: ClosedRange<Int>) -> Int? {
        guard let scalar = node.scalar, let seconds = Seconds.parse(scalar.string) else {
            expected("a duration such as 90s or 2m")
            return nil
        }
        guard range.contains(seconds) else {
            fault("\(scalar.string) is outside \(range.lowerBound)s to \(range.upperBound)s")
            return nil
        }
        return seconds
    }

    /// How many letters have to be added, removed or changed to turn one word into the other.
    private func distance(_ left: String, _ right: String) -> Int {
        let (left, right) = (Array(left.lowercased().prefix(40)), Array(right.lowercased().prefix(40)))
        var row = Array(0...right.count)
        for (i, a) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, b) in right.enumerated() {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a == b ? 0 : 1))
                diagonal = above
            }
        }
        return row[right.count]
    }
}
