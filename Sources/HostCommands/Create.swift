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

    @Argument(help: "A template (\(InstanceTemplate.names.joined(separator: ", "))), a file, or - for standard input.")
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
        let (text, file, implied) = try read(context)
        let name = try InstanceName(name ?? implied)
        context.sweep()
        if output.dryRun {
            return try output.show(plan: await CreateOperation(context: context).plan(name, text, file))
        }
        let result = try await CreateOperation(context: context).run(name, text, file)
        for warning in result.warnings { context.progress(.warning(warning)) }
        try output.show(result, "created \(name); start it with: hostagent start \(name)\n")
    }

    /// The text, its name in messages, and the default name of an instance made from it.
    private func read(_ context: OperationContext) throws(HostError) -> (text: String, file: String, implied: String) {
        if source == "-" {
            guard let bytes = StandardStreams.input(limit: 16 << 20) else {
                throw HostError(.badConfiguration, "standard input is longer than any lima.yaml")
            }
            return (String(decoding: bytes, as: UTF8.self), "standard input", "default")
        }
        if !source.contains("/"), let text = InstanceTemplate.text(source, environment: context.environment) {
            return (text, "template:\(source)", source)
        }
        let file = String(source.split(separator: "/").last ?? "")
        let implied = file.split(separator: ".").first.map(String.init) ?? "default"
        do {
            return (try TextFile.read(source, anyKind: true), source, implied == "lima" ? "default" : implied)
        } catch {
            if error.isMissing {
                throw HostError(
                    .unavailable, "there is no template and no file \(InstanceName.quoted(source))",
                    hint: "the templates are \(InstanceTemplate.names.joined(separator: " and "))")
            }
            if error.code == SystemCallError.tooBig {
                throw HostError(.badConfiguration, "\(source) is longer than any lima.yaml")
            }
            throw HostError(.notPermitted, "cannot read \(source): \(error.reason)")
        }
    }
}
