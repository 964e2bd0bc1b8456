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
        name: .shortAndLong,
        help: ArgumentHelp(
            "table, json, yaml, or a template of {{.Field}}, {{json .Field}} and {{json .}}; default: table.",
            valueName: "format"))
    var format: String?

    @Flag(help: "The same as --format json.")
    var json = false

    @Flag(name: .shortAndLong, help: "Print only the names.")
    var quiet = false

    @Flag(help: "Print the names of the fields that a template can have.")
    var listFields = false

    @Flag(help: "Show all columns; they are always shown here.")
    var allFields = false

    @Option(
        name: [.customShort("l"), .long],
        help: ArgumentHelp(
            "Show the instances for which this query is true; all, if given several times.", valueName: "query"))
    var filter: [String] = []

    @Option(help: ArgumentHelp("Show the answers to a query about each instance, as JSON.", valueName: "query"))
    var yq: [String] = []

    func run() async throws {
        if listFields {
            StandardStreams.output(ListFormat.fieldNames.map { $0 + "\n" }.joined())
            return
        }
        let format = try chosenFormat()
        let query = try wholeQuery()
        let context = OperationContext.current
        let home = try context.home()
        if let owner = try OwnerBoundary(nil, context) {
            let output = try await owner.perform(["list"] + words + names) { StandardStreams.output($0) }
            StandardStreams.output(output)
            return
        }
        let (directories, missing) = try home.found(named: names)
        try await show(directories, query, format, context)
        // What was found is shown all the same, as in Lima.
        for name in missing.dropLast() { StandardStreams.error("hostagent: there is no instance \"\(name)\"\n") }
        if let last = missing.last { _ = try home.existing(last) }
    }

    private func show(
        _ directories: [InstanceDirectory], _ query: Query?, _ format: ListFormat, _ context: OperationContext
    ) async throws {
        if quiet, query == nil {
            StandardStreams.output(directories.map { "\($0.name)\n" }.joined())
            return
        }
        var rows = await InstanceSurvey(context: context).rows(
            directories, withConfiguration: query != nil || format.showsConfiguration)
        if let query, !yq.isEmpty {
            let answers = try rows.flatMap { try query.results(on: QueryValue(json: JSONText.line($0))) }
            StandardStreams.output(try text(of: answers, format))
            return
        }
        if let query { rows = try rows.filter { try !query.results(on: QueryValue(json: JSONText.line($0))).isEmpty } }
        if quiet {
            StandardStreams.output(rows.map { "\($0.name)\n" }.joined())
        } else if rows.isEmpty, format == .table {
            if !names.isEmpty, query == nil { return }
            StandardStreams.error(
                query == nil
                    ? "there are no instances in \(try context.home().path); make one with: hostagent create mini\n"
                    : "no instance matches the filter\n")
        } else {
            StandardStreams.output(try format.render(rows))
        }
    }

    /// - Throws: `HostError` with `.usage` for options that exclude each other, as in Lima.
    private func chosenFormat() throws(HostError) -> ListFormat {
        if quiet, json || format ?? "table" != "table" {
            throw HostError(.usage, "--quiet shows names only, so it has no --format")
        }
        guard let format else { return json || !yq.isEmpty ? .json : .table }
        let chosen = try ListFormat(json ? "json" : format)
        guard yq.isEmpty || chosen == .json || chosen == .yaml else {
            throw HostError(.usage, "--yq shows its answers as JSON or YAML", hint: "use --format json or yaml")
        }
        return chosen
    }

    /// The filters and then the queries, one after the other.
    private func wholeQuery() throws(HostError) -> Query? {
        var whole: Query?
        for text in filter {
            let next = Query.call(.select, try Query(text))
            whole = whole.map { .pipe($0, next) } ?? next
        }
        for text in yq {
            let next = try Query(text)
            whole = whole.map { .pipe($0, next) } ?? next
        }
        return whole
    }

    private func text(of answers: [QueryValue], _ format: ListFormat) throws -> String {
        if quiet {
            return answers.map { $0["name"] }.filter { $0 != .null }.map { $0.line + "\n" }.joined()
        }
        if format == .yaml { return try answers.map { try ($0.isCompound ? "---\n" : "") + $0.yaml }.joined() }
        return answers.map { $0.line + "\n" }.joined()
    }

    /// The options as arguments for another hostagent process.
    private var words: [String] {
        (quiet ? ["--quiet"] : []) + (json ? ["--json"] : []) + (format.map { ["--format", $0] } ?? [])
            + filter.flatMap { ["--filter", $0] } + yq.flatMap { ["--yq", $0] }
    }
}
