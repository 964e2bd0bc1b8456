import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Creates an instance from a template or a lima.yaml.")

    @Option(help: "The instance's name; default: that of the template or file.")
    var name: String?

    @Argument(
        help:
            "A template (\(InstanceTemplate.names.joined(separator: ", ")), template:NAME), a file, or - for standard input."
    )
    var source: String

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let context = OperationContext.current
        if let owner = try OwnerBoundary(nil, context) {
            // The owner's process opens the file, because root could read files that the owner may not.
            let isStandardInput = source == "-"
            let input = isStandardInput ? StandardStreams.input(limit: 16 << 20) : nil
            let words = ["create"] + output.words + (name.map { ["--name", $0] } ?? []) + [source]
            StandardStreams.output(
                try await owner.perform(words, input: input.map { String(decoding: $0, as: UTF8.self) }))
            return
        }
        let template = try await TemplateArgument(source, context)
        let (text, file) = (template.text.text, template.text.file)
        let name = try InstanceName(name ?? template.impliedName)
        context.sweep()
        if output.dryRun {
            return try output.show(plan: await CreateOperation(context: context).plan(name, text, file))
        }
        let result = try await CreateOperation(context: context).run(name, text, file)
        for warning in result.warnings { context.progress(.warning(warning)) }
        try output.show(result, "created \(name); start it with: hostagent start \(name)\n")
    }
}
