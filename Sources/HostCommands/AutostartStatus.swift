import AgentAPI
import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

struct AutostartStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows how instances are registered, and the state of each registration.")

    @Argument(help: "Show only these instances.")
    var names: [String] = []

    @Option(help: ArgumentHelp("table or json.", valueName: "format"))
    var format = "table"

    func validate() throws {
        if !["table", "json"].contains(format) { throw ValidationError("--format is table or json, not \(format)") }
    }

    func run() async throws {
        let context = OperationContext.current
        if let owner = try OwnerBoundary(nil, context) {
            StandardStreams.output(try await owner.perform(["autostart", "status", "--format", format] + names))
            return
        }
        let home = try context.home()
        let directories = try home.instances(named: names)
        let rows = try await AutostartSurvey(context: context).rows(directories)
        if format == "json" {
            for row in rows { StandardStreams.output(try JSONText.line(row)) }
        } else {
            StandardStreams.output(AutostartTable.render(rows))
        }
    }
}

/// The table of `autostart status`.
enum AutostartTable {
    private static func at(_ row: AutostartRow) -> String {
        row.lingers == true ? "boot (linger)" : row.condition?.rawValue ?? "-"
    }

    static func render(_ rows: [AutostartRow]) -> String {
        let cells = rows.map { row in
            [
                row.name, at(row), row.condition == nil ? "-" : row.enabled ? "yes" : "no",
                row.status.rawValue, row.runBy ?? "-", row.since ?? "-", row.restarts.map(String.init) ?? "-",
            ]
        }
        return TextTable.render(
            header: ["NAME", "AT", "ENABLED", "STATUS", "RUN BY", "SINCE", "RESTARTS"], cells: cells,
            below: rows.map { row in
                (row.ours == false ? ["\(row.file ?? "") was not made by hostagent"] : [])
                    + (row.lastFailure.map { ["last failure: \($0)"] } ?? [])
                    + (row.nextTry.map { ["next try: \($0)"] } ?? [])
            })
    }
}
