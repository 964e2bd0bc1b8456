import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration
import Yams

/// The output format of `list`.
package enum ListFormat: Equatable {
    case table, json, yaml
    case template([Piece])

    /// A part of a template.
    package enum Piece: Equatable {
        case text(String)
        case field(String)
        case wholeAsJSON
        case fieldAsJSON(String)
    }

    /// Field names as in Lima's Go templates: the key with an upper-case first letter; some are all upper case.
    private static let fields: [String: String] = [
        "Name": "name", "Hostname": "hostname", "Status": "status", "Dir": "dir", "VMType": "vmType", "Arch": "arch",
        "CPUs": "cpus", "Memory": "memory", "Disk": "disk", "Message": "message", "SSHLocalPort": "sshLocalPort",
        "SSHAddress": "sshAddress", "SSHConfigFile": "sshConfigFile", "HostAgentPID": "hostAgentPID",
        "DriverPID": "driverPID", "Errors": "errors", "Protected": "protected", "Param": "param",
        "AutoStartedIdentifier": "autoStartedIdentifier", "LimaVersion": "limaVersion", "Config": "config",
    ]

    static var fieldNames: [String] { fields.keys.sorted() }

    /// - Throws: `HostError` with `.usage` unless the text is `table`, `json`, `yaml` or a template of known fields.
    package init(_ text: String) throws(HostError) {
        switch text {
        case "table": self = .table
        case "json": self = .json
        case "yaml": self = .yaml
        default:
            guard text.contains("{{") else {
                throw HostError(
                    .usage, "--format \(InstanceName.quoted(text)) is not known",
                    hint: "table, json, yaml, or a template such as '{{.Name}}'")
            }
            self = .template(try Self.pieces(text))
        }
    }

    private static func pieces(_ text: String) throws(HostError) -> [Piece] {
        var pieces: [Piece] = []
        var rest = text[...]
        while let open = rest.firstRange(of: "{{") {
            if open.lowerBound > rest.startIndex { pieces.append(.text(unescape(rest[..<open.lowerBound]))) }
            rest = rest[open.upperBound...]
            guard let close = rest.firstRange(of: "}}") else {
                throw HostError(.usage, "--format: {{ without }} in \(InstanceName.quoted(text))")
            }
            let inner = String(rest[..<close.lowerBound]).trimmed
            rest = rest[close.upperBound...]
            if inner == "json ." {
                pieces.append(.wholeAsJSON)
            } else if inner.hasPrefix("json ."), let key = fields[String(inner.dropFirst(6))] {
                pieces.append(.fieldAsJSON(key))
            } else if inner.hasPrefix("."), let key = fields[String(inner.dropFirst())] {
                pieces.append(.field(key))
            } else {
                throw HostError(
                    .usage,
                    "--format: {{\(inner)}} is not known; templates know {{.Field}}, {{json .Field}} and {{json .}}",
                    hint: "fields: \(fields.keys.sorted().joined(separator: ", "))")
            }
        }
        if !rest.isEmpty { pieces.append(.text(unescape(rest))) }
        return pieces
    }

    /// Expands `\t` and `\n`, which single quotes in a shell pass unchanged.
    private static func unescape(_ text: Substring) -> String {
        String(text).replacing("\\t", with: "\t").replacing("\\n", with: "\n")
    }

    /// Whether the configurations of the instances are shown.
    var showsConfiguration: Bool {
        switch self {
        case .table: false
        case .json, .yaml: true
        case .template(let pieces):
            pieces.contains { [.wholeAsJSON, .field("config"), .fieldAsJSON("config")].contains($0) }
        }
    }

    package func render(_ rows: [InstanceRow]) throws -> String {
        switch self {
        case .table: return Self.table(rows)
        case .json: return try rows.map { try JSONText.line($0) }.joined()
        case .yaml:
            let encoder = YAMLEncoder()
            encoder.options.sortKeys = true
            return try rows.map { "---\n" + (try encoder.encode($0)) }.joined()
        case .template(let pieces):
            return try rows.map { row in try Self.expand(pieces, row) + "\n" }.joined()
        }
    }

    private static func expand(_ pieces: [Piece], _ row: InstanceRow) throws -> String {
        let json = try JSONText.line(row)
        let namesFields = pieces.contains { piece in
            switch piece {
            case .field, .fieldAsJSON: true
            case .text, .wholeAsJSON: false
            }
        }
        let values = namesFields ? try QueryValue(json: json) : .null
        return pieces.map { piece in
            switch piece {
            case .text(let text): text
            case .field(let key): text(of: values[key])
            case .fieldAsJSON(let key): values[key].json
            case .wholeAsJSON: json.trimmed
            }
        }.joined()
    }

    /// A value as Go's templates show it.
    private static func text(of value: QueryValue) -> String {
        switch value {
        case .null: ""
        case .list(let elements): "[" + elements.map(text).joined(separator: " ") + "]"
        case .mapping(let entries):
            "map[" + entries.map { "\($0.key):\(text(of: $0.value))" }.joined(separator: " ") + "]"
        case .flag, .number, .text: value.line
        }
    }

    // MARK: Table

    private static func table(_ rows: [InstanceRow]) -> String {
        let header = ["NAME", "STATUS", "SSH", "VMTYPE", "ARCH", "CPUS", "MEMORY", "DISK", "DIR"]
        let cells = rows.map { row in
            [
                row.name, row.status.rawValue, row.sshLocalPort.map { "127.0.0.1:\($0)" } ?? "127.0.0.1:0", row.vmType,
                row.arch, row.cpus.map(String.init) ?? "-", row.memory.map(ByteCount.format) ?? "-",
                row.disk.map(ByteCount.format) ?? "-", row.dir,
            ]
        }
        return TextTable.render(header: header, cells: cells, below: rows.map { $0.errors ?? [] })
    }
}
