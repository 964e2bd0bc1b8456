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
        let home = try context.home()
        let store = TemplateStore(
            home: home, environment: context.environment, provider: context.sourceFiles
        ) { [progress = context.progress] in
            // Only what a person has to know: templates are small.
            switch $0.state {
            case .unconfirmed, .interrupted: progress(.download($0))
            case .receiving, .followed, .complete: break
            }
        }
        let own: ConfigurationText
        if source == "-" {
            guard let bytes = StandardStreams.input(limit: 16 << 20) else {
                throw HostError(.badConfiguration, "standard input is longer than any lima.yaml")
            }
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw HostError(.badConfiguration, "standard input is not UTF-8 text")
            }
            (locator, own) = (.standardInput, ConfigurationText(text, file: "standard input"))
        } else if !source.contains("/"), InstanceTemplate.names.contains(source) {
            locator = .template(source)
            own = try await store.text(of: locator)
        } else if Self.isLocator(source) {
            locator = try Locator(source, within: .standardInput)
            own = try await store.text(of: locator)
        } else {
            let path = source.hasPrefix("/") ? source : (HostProcess.workingDirectory ?? "") + "/" + source
            locator = .file(path)
            own = ConfigurationText(try Self.read(path, source), file: source)
        }
        self.own = own
        impliedName = Self.impliedName(locator)
        text = try await BaseEmbedding(reader: store).embedded(own, at: locator, after: home.baseForAll)
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

    /// Reads a file that a person named. It may be a pipe of the shell, as in `create <(…)`.
    private static func read(_ path: String, _ source: String) throws(HostError) -> String {
        let bytes: [UInt8]
        do {
            bytes = try TextFile.bytes(path, limit: 16 << 20, anyKind: true)
        } catch {
            if error.isMissing {
                throw HostError(
                    .unavailable, "there is no template and no file \(InstanceName.quoted(source))",
                    hint: "the templates are \(InstanceTemplate.names.joined(separator: ", "))")
            }
            if error.code == SystemCallError.tooBig {
                throw HostError(.badConfiguration, "\(source) is longer than any lima.yaml")
            }
            throw HostError(.notPermitted, "cannot read \(source): \(error.reason)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw HostError(
                .badConfiguration, "\(source) is not UTF-8 text",
                hint: "iconv -f LATIN1 -t UTF-8 converts a file in the encoding Latin-1")
        }
        return text
    }

    /// The last part of the path, without its ending. Lima's own files are called `lima.yaml`, which names no instance.
    private static func impliedName(_ locator: Locator) -> String {
        guard locator != .standardInput else { return "default" }
        let last = locator.description.split { $0 == "/" || $0 == ":" }.last ?? ""
        let name = last.split(separator: ".").first.map(String.init) ?? "default"
        return name == "lima" ? "default" : name
    }
}
