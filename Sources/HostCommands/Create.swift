import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Creates an instance from a template or a lima.yaml.")

    @Option(help: "The instance's name; default: that of the template or file.")
    var name: String?

    @Argument(
        help:
            "A template (\(InstanceTemplate.names.joined(separator: ", ")), template:NAME), a file, an address, or - for standard input."
    )
    var source: String

    @OptionGroup var flags: TemplateFlags
    @OptionGroup var creation: CreationFlags
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let context = OperationContext.current
        let command = CreateCommand(context: context, source: source, name: name, flags: flags, creation: creation)
        if let owner = try OwnerBoundary(nil, context) {
            StandardStreams.output(try await command.run(as: owner, output.words))
            return
        }
        if output.dryRun { return try output.show(plan: await command.plan()) }
        let result = try await command.run()
        try output.show(result, "created \(result.name); start it with: hostagent start \(result.name)\n")
    }
}
