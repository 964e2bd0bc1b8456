import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct Validate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks templates and lima.yaml files, with everything that they include.")

    @Argument(help: "Files, templates (template:NAME), or - for standard input.")
    var sources: [String]

    func run() async throws {
        let context = OperationContext.current
        var failures = 0
        for source in sources {
            do {
                for warning in try await check(source, context) { context.progress(.warning(warning)) }
                StandardStreams.output("\(source) is valid\n")
            } catch let error as HostError {
                failures += 1
                StandardStreams.error("hostagent: \(error)\n")
            }
        }
        if failures > 0 { throw Exit(status: .badConfiguration) }
    }

    /// - Returns: sentences about keys that have no effect.
    private func check(_ source: String, _ context: OperationContext) async throws -> [String] {
        let template = try await TemplateArgument(source, context)
        let name = try (try? InstanceName(template.impliedName)) ?? InstanceName("default")
        return try LimaYAML.resolve(
            context.home().layers(around: template.text), for: name, host: .current
        ).warnings
    }
}
