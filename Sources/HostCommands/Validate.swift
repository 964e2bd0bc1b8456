import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct Validate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks templates and lima.yaml files, with everything that they include.")

    @Flag(help: "Print each with the values of the keys that it leaves out, from the files of _config and by default.")
    var fill = false

    @Argument(help: "Files, templates (template:NAME), or - for standard input.")
    var sources: [String]

    func run() async throws {
        let context = OperationContext.current
        var failures = 0
        for source in sources {
            do {
                let resolved = try await TemplateArgument(source, context).resolved(context)
                for warning in resolved.warnings { context.progress(.warning(warning)) }
                StandardStreams.output(fill ? "---\n\(try resolved.filledYAML)" : "\(source) is valid\n")
            } catch let error as HostError {
                failures += 1
                StandardStreams.error("hostagent: \(error)\n")
            }
        }
        if failures > 0 { throw Exit(status: .badConfiguration) }
    }
}

extension ResolvedConfiguration {
    /// The whole configuration as YAML, with the values of the keys that the files leave out.
    var filledYAML: String {
        get throws { try QueryValue(document).yaml }
    }
}
