import ArgumentParser
import HostModel
import HostOS
import InstanceStore

struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes an instance from a template or a lima.yaml.")

    @Option(help: "The instance's name; default: that of the template or file.")
    var name: String?

    @Argument(help: "A template (\(InstanceTemplate.names.joined(separator: ", "))), a file, or - for standard input.")
    var source: String

    func run() async throws {
        let context = CommandContext.current
        let (text, file, implied) = try read(context)
        let name = try InstanceName(name ?? implied)
        if let owner = try OwnerBoundary(nil, context) {
            return try await owner.perform(["create", "--name", name.text, "-"], input: text)
        }
        context.sweep()
        let warnings = try await InstanceCreator(home: context.home()).create(name: name, source: text, file: file)
        for warning in warnings { StandardStreams.error("hostagent: warning: \(warning)\n") }
        StandardStreams.output("created \(name); start it with: hostagent start \(name)\n")
    }

    /// The text, what it is called in messages, and the name an instance of it gets.
    private func read(_ context: CommandContext) throws(HostError) -> (text: String, file: String, implied: String) {
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
