import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

/// Runs a verb that only works on files: as the owner of the instance's directory, if that is another account than root.
private func perform(
    _ words: [String], on name: String, _ output: JSONOption, _ text: (ChangeResult) -> String,
    _ work: (OperationContext, InstanceDirectory) async throws -> ChangeResult
) async throws {
    let context = OperationContext.current
    let directory = try context.directory(name)
    if let owner = try OwnerBoundary(name, context) {
        StandardStreams.output(try await owner.perform(words + output.words))
        return
    }
    let result = try await work(context, directory)
    try output.show(result, text(result))
}

/// `--json`, for verbs that have no plan to show: they must not take `--dry-run` and then do it.
struct JSONOption: ParsableArguments {
    @Flag(help: "Show the result as one line of JSON.")
    var json = false

    /// - Parameter text: the result for people.
    func show(_ result: some Encodable, _ text: String) throws {
        StandardStreams.output(json ? try JSONText.line(result) : text)
    }

    /// The flag as an argument for another hostagent process.
    var words: [String] { json ? ["--json"] : [] }
}

struct Protect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Protects instances from delete and factory-reset.")

    @Argument(help: "The instances' names.") var names: [String]
    @OptionGroup var output: JSONOption

    func run() async throws {
        for name in names {
            try await perform(["protect", name], on: name, output, { "protected \($0.name)\n" }) { _, directory in
                try ProtectOperation(directory: directory).run(protect: true)
            }
        }
    }
}

struct Unprotect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Allows delete and factory-reset of instances again.")

    @Argument(help: "The instances' names.") var names: [String]
    @OptionGroup var output: JSONOption

    func run() async throws {
        for name in names {
            try await perform(["unprotect", name], on: name, output, { "unprotected \($0.name)\n" }) { _, directory in
                try ProtectOperation(directory: directory).run(protect: false)
            }
        }
    }
}

struct Rename: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Gives a stopped instance another name.")

    @Argument(help: "The instance's name.") var name: String
    @Argument(help: "Its new name.") var newName: String
    @Flag(help: "Start it afterwards.") var start = false
    @OptionGroup var output: JSONOption
    @OptionGroup(title: "Changes of its lima.yaml") var flags: TemplateFlags

    func run() async throws {
        let new = try InstanceName(newName)
        try await perform(
            ["rename", name, newName] + flags.words, on: name, output, { "renamed \(name) to \($0.name)\n" }
        ) {
            try await RenameOperation(context: $0, directory: $1).run(to: new, changing: flags.applied(to:))
        }
        if start { try await startNow(newName) }
    }
}

struct Clone: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes a second instance with the disk of another one.",
        discussion: """
            The clone is not protected and not registered. Its guest gets a machine-id of its own. The clone of a running \
            instance has the disk of its newest snapshot.
            """)

    @Argument(help: "The instance's name.") var name: String
    @Argument(help: "The name of the clone.") var newName: String
    @Flag(help: "Start the clone afterwards.") var start = false
    @OptionGroup var output: JSONOption
    @OptionGroup(title: "Changes of its lima.yaml") var flags: TemplateFlags

    func run() async throws {
        let new = try InstanceName(newName)
        try await perform(
            ["clone", name, newName] + flags.words, on: name, output,
            { result in
                "cloned \(name) to \(result.name)"
                    + (result.snapshot.map {
                        ", as it was in its newest snapshot, \(DisplayText.cleaned($0)); it runs, and was not cloned as it is now"
                    } ?? "") + "\n"
            }
        ) {
            try await CloneOperation(context: $0, directory: $1).run(to: new, changing: flags.applied(to:))
        }
        if start { try await startNow(newName) }
    }
}

struct FactoryReset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes a stopped instance's disk; the next start makes it anew.")

    @OptionGroup var instance: InstanceArgument
    @OptionGroup var output: JSONOption

    func run() async throws {
        try await perform(
            ["factory-reset", instance.name], on: instance.name, output, { "reset \($0.name)\n" }
        ) { try FactoryResetOperation(context: $0, directory: $1).run() }
    }
}

struct Prune: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes downloaded images, which Lima uses too.")

    @Flag(help: "Keep what instances and templates name.") var keepReferred = false
    @OptionGroup var output: JSONOption

    func run() async throws {
        let result = try await PruneOperation(context: .current).run(keepReferred: keepReferred)
        let count = result.removed.count
        try output.show(
            result,
            count == 0
                ? "nothing was to be removed\n"
                : result.removed.map { "removed \($0)\n" }.joined()
                    + "\(ByteCount.format(result.bytes)) are free again\n")
    }
}

private func startNow(_ name: String) async throws {
    let context = OperationContext.current
    let directory = try context.directory(name)
    try await StartCommand(context: context, directory: directory).run(OwnerBoundary(name, context))
}
