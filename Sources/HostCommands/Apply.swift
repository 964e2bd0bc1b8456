import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct Apply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Brings instances into the states that a document describes.",
        discussion: """
            The document is YAML or JSON with the list `instances`. Each element has a `name`, and may have: `state` \
            (present, started, stopped, restarted or absent), `template` and `config` (keys of lima.yaml), `param`, \
            `apply` (none, live or restart: how far a change is carried into a running guest), `wait`, `timeout` and \
            `force`.
            """)

    @Argument(help: "The document: a file, or - for standard input.")
    var file: String

    @OptionGroup var output: OutputOptions

    private struct Document: Encodable {
        var instances: [ApplyResult]
    }

    func run() async throws {
        var context = OperationContext.current
        let console = Console(messageWhenReady: "", quiet: true)
        if !output.json { context.progress = console.progress }
        let desired = try DesiredInstance.read(try document())
        let operation = ApplyOperation(context: context, version: HostAgentCommand.version) { [context] template, own in
            guard let template else { return try await TemplateArgument.embedded(own, context) }
            guard template != "-" else {
                throw HostError(.usage, "template: standard input is no template here", hint: "give it as config")
            }
            return try await TemplateArgument(template, context).text
        }
        let results = await operation.run(desired, dryRun: output.dryRun)
        console.finish()
        if output.json {
            StandardStreams.output(try JSONText.line(Document(instances: results)))
        } else {
            for result in results { show(result) }
        }
        if let failure = results.lazy.compactMap(\.failure).first {
            throw Exit(status: HostExitStatus(rawValue: failure.status) ?? .failure)
        }
    }

    private func document() throws(HostError) -> ConfigurationText {
        if file == "-" { return try InputText.standardInput("list of instances") }
        return try InputText.file(
            file, as: file, "list of instances",
            missing: HostError(.unavailable, "there is no file \(InstanceName.quoted(file))"))
    }

    private func show(_ result: ApplyResult) {
        StandardStreams.output("\(result.name): \(Self.sentence(result, dryRun: output.dryRun))\n")
        for warning in result.warnings { StandardStreams.error("hostagent: warning: \(warning)\n") }
        if !result.withoutEffect.isEmpty {
            StandardStreams.error(
                "hostagent: warning: without effect on an existing instance: "
                    + "\(result.withoutEffect.joined(separator: ", "))\n")
        }
        if let failure = result.failure {
            let error = HostError(.failed, "\(result.name): \(failure.message)", hint: failure.hint)
            StandardStreams.error("hostagent: \(error)\n")
        }
    }

    static func sentence(_ result: ApplyResult, dryRun: Bool) -> String {
        var parts = result.steps.map { step in
            let keys = step == .configure ? " \(result.keys.joined(separator: ", "))" : ""
            return (dryRun ? "would \(step.infinitive)" : step.participle) + keys
        }
        if result.failure != nil { parts.append("failed") }
        if parts.isEmpty { parts.append("as it should be") }
        if !result.pendingRestart.isEmpty {
            parts.append("pending until a restart: \(result.pendingRestart.joined(separator: ", "))")
        }
        return parts.joined(separator: "; ")
    }
}

extension ApplyStep {
    fileprivate var infinitive: String { self == .configure ? "set" : rawValue }

    fileprivate var participle: String {
        switch self {
        case .create: "created"
        case .configure: "set"
        case .reload: "reloaded"
        case .start: "started"
        case .restart: "restarted"
        case .stop: "stopped"
        case .delete: "deleted"
        }
    }
}
