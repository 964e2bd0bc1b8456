import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

/// Makes an instance from a template on the command line, for `create` and for `start` with a template.
struct CreateCommand {
    var context: OperationContext
    let source: String
    /// Nil for the name of the template or file.
    let name: String?
    let flags: TemplateFlags
    let creation: CreationFlags

    /// The instance and the text that it is to be made from.
    private struct Order {
        var name: InstanceName
        var text: ConfigurationText
    }

    private func order(_ context: OperationContext) async throws -> Order {
        let template = try await TemplateArgument(source, context)
        return Order(
            name: try InstanceName(name ?? template.impliedName),
            text: try flags.applied(to: creation.applied(to: template.text)))
    }

    func plan() async throws -> OperationPlan {
        let order = try await order(context)
        return try await CreateOperation(context: context).plan(order.name, order.text.text, order.text.file)
    }

    func run() async throws -> CreateResult {
        let console = Console(messageWhenReady: "", quiet: true)
        defer { console.finish() }
        var context = context
        context.progress = console.progress
        let order = try await order(context)
        context.sweep()
        let result = try await CreateOperation(context: context).run(order.name, order.text.text, order.text.file)
        for warning in result.warnings { context.progress(.warning(warning)) }
        return result
    }

    /// Does the same as the owner of a directory that is not root's. The owner's process opens the file, because root
    /// could read files that the owner may not.
    func run(as owner: OwnerBoundary, _ output: [String]) async throws -> String {
        let input = source == "-" ? StandardStreams.input(limit: 16 << 20) : nil
        let words = ["create"] + output + flags.words + creation.words + (name.map { ["--name", $0] } ?? []) + [source]
        return try await owner.perform(words, input: input.map { String(decoding: $0, as: UTF8.self) })
    }
}
