import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists instances.", aliases: ["ls"])

    @Argument(help: "Show only these instances.")
    var names: [String] = []

    @Option(
        help: ArgumentHelp(
            "table, json, yaml, or a template of {{.Field}} and {{json .}}.", valueName: "format"))
    var format = "table"

    @Flag(help: "The same as --format json.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print only the names.")
    var quiet = false

    func run() async throws {
        let format = try ListFormat(json ? "json" : format)
        let context = OperationContext.current
        let home = try context.home()
        if let owner = try OwnerBoundary(nil, context) {
            let shape = quiet ? ["--quiet"] : ["--format", json ? "json" : self.format]
            StandardStreams.output(try await owner.perform(["list"] + shape + names))
            return
        }
        let directories = try home.instances(named: names)
        if quiet {
            StandardStreams.output(directories.map { "\($0.name)\n" }.joined())
            return
        }
        let rows = await InstanceSurvey(context: context).rows(directories)
        if rows.isEmpty, format == .table {
            StandardStreams.error("there are no instances in \(home.path); make one with: hostagent create mini\n")
            return
        }
        StandardStreams.output(try format.render(rows))
    }
}
