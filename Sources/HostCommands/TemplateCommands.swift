import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct Template: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists, shows and checks templates.",
        subcommands: [TemplateList.self, TemplateCopy.self, Validate.self, TemplateURL.self], aliases: ["tmpl"])
}

struct TemplateList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the templates that have names.", aliases: ["ls"])

    func run() async throws {
        let context = OperationContext.current
        let store = TemplateStore(
            home: try context.home(), environment: context.environment, provider: context.sourceFiles)
        StandardStreams.output(store.names.map { $0 + "\n" }.joined())
    }
}

struct TemplateCopy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Writes a template, with everything that it includes, to a file.",
        aliases: ["cp"])

    @Flag(help: "Do not merge bases and files of scripts into it.") var verbatim = false
    @Flag(
        help:
            "Write the values of the keys that it leaves out, too, from the files of _config and by default; comments are lost."
    ) var fill = false
    @Flag(name: .customLong("embed"), help: "Merge bases and files of scripts; that is always done without --verbatim.")
    var embeds = false
    @Flag(help: "The same as --embed.") var embedAll = false
    @Argument(help: "A template, a file or an address.") var source: String
    @Argument(help: "A file that does not exist yet, or - for standard output.") var target: String = "-"

    func run() async throws {
        if verbatim, fill || embeds || embedAll {
            throw HostError(.usage, "--verbatim changes nothing, so it excludes --embed, --embed-all and --fill")
        }
        let template = try await TemplateArgument(source, .current)
        let text =
            if fill {
                try template.resolved(.current).filledYAML
            } else {
                verbatim ? template.own.text : template.text.text
            }
        if target == "-" {
            StandardStreams.output(text)
            return
        }
        guard Files.kind(target) == nil else {
            throw HostError(.cannotCreate, "\(target) exists already", hint: "choose another name")
        }
        do {
            try TextFile.replace(target, with: text, mode: 0o644)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(target): \(error.reason)")
        }
    }
}

struct TemplateURL: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "url", abstract: "Prints where a template is.")

    @Argument(help: "A template, a file or an address.") var source: String

    func run() async throws {
        let template = try await TemplateArgument(source, .current)
        StandardStreams.output("\(template.own.file)\n")
    }
}
