import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

/// A template as the command line names it: a file, `-`, `template:NAME`, or the name of one that is compiled in.
struct TemplateArgument {
    let locator: Locator
    /// The template, with its bases merged into it.
    let text: ConfigurationText
    /// The template as it is.
    let own: ConfigurationText
    /// The default name of an instance made from it.
    let impliedName: String

    /// - Throws: `HostError` if there is no such template, or one of its bases is wrong.
    init(_ source: String, _ context: OperationContext) async throws(HostError) {
        let store = try Self.store(context)
        let own: ConfigurationText
        if source == "-" {
            (locator, own) = (.standardInput, try InputText.standardInput("lima.yaml"))
        } else if !source.contains("/"), InstanceTemplate.names.contains(source) {
            locator = .template(source)
            own = try await store.text(of: locator)
        } else if Self.isLocator(source) {
            locator = try Locator(source, within: .standardInput)
            own = try await store.text(of: locator)
        } else {
            let path = source.hasPrefix("/") ? source : (HostProcess.workingDirectory ?? "") + "/" + source
            locator = .file(path)
            own = try InputText.file(
                path, as: source, "lima.yaml",
                missing: HostError(
                    .unavailable, "there is no template and no file \(InstanceName.quoted(source))",
                    hint: "the templates are \(InstanceTemplate.names.joined(separator: ", "))"))
        }
        self.own = own
        impliedName = Self.impliedName(locator)
        text = try await BaseEmbedding(reader: store).embedded(own, at: locator, after: context.home().baseForAll)
    }

    /// A template that is given as a text, with its bases merged into it.
    /// - Throws: `HostError` if one of its bases is wrong.
    static func embedded(
        _ text: ConfigurationText, _ context: OperationContext
    ) async throws(HostError) -> ConfigurationText {
        let embedding = BaseEmbedding(reader: try store(context))
        return try await embedding.embedded(text, at: .standardInput, after: context.home().baseForAll)
    }

    private static func store(_ context: OperationContext) throws(HostError) -> TemplateStore {
        TemplateStore(
            home: try context.home(), environment: context.environment, provider: context.sourceFiles
        ) { [progress = context.progress] in
            // Only what a person has to know: templates are small.
            switch $0.state {
            case .unconfirmed, .interrupted: progress(.download($0))
            case .receiving, .followed, .complete: break
            }
        }
    }

    /// The configuration that an instance of this template would have, with the files of `_config`.
    /// - Throws: `HostError` with `.badConfiguration` for its faults.
    func resolved(_ context: OperationContext) throws(HostError) -> ResolvedConfiguration {
        let name: InstanceName
        if let implied = try? InstanceName(impliedName) { name = implied } else { name = try InstanceName("default") }
        return try LimaYAML.resolve(context.home().layers(around: text), for: name, host: .current)
    }

    /// Whether the words name a template by a scheme, and so neither a file nor an instance.
    static func isLocator(_ source: String) -> Bool {
        source.hasPrefix("template:") || source.hasPrefix("github:") || source.contains("://")
    }

    /// The last part of the path, without its ending. Lima's own files are called `lima.yaml`, which names no instance.
    private static func impliedName(_ locator: Locator) -> String {
        guard locator != .standardInput else { return "default" }
        let last = locator.description.split { $0 == "/" || $0 == ":" }.last ?? ""
        let name = last.split(separator: ".").first.map(String.init) ?? "default"
        return name == "lima" ? "default" : name
    }
}
