import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Takes snapshots of an instance's disks, and returns to them.",
        discussion: """
            A running guest stands still while its memory is written to its disk, and goes on from there when the snapshot \
            is applied to it. A stopped instance boots from the disks of the snapshot that is applied. All disks of the \
            instance must have the format qcow2.
            """,
        subcommands: [SnapshotCreate.self, SnapshotList.self, SnapshotApply.self, SnapshotDelete.self])
}

/// The options of all verbs that change snapshots.
struct SnapshotArguments: ParsableArguments {
    @Argument(help: "The instance's name.") var name: String
    @Option(help: "The name of the snapshot.") var tag: String
    @OptionGroup var output: JSONOption

    /// The result as JSON.
    private struct Result: Encodable {
        var name: String
        var tag: String
        var change: SnapshotChange.Verb
    }

    func perform(_ verb: SnapshotChange.Verb) async throws {
        let change = SnapshotChange(verb, try SnapshotTag(tag))
        let context = OperationContext.current
        let directory = try context.directory(name)
        if let owner = try OwnerBoundary(name, context) {
            let words = ["snapshot", verb.rawValue, "--tag=\(tag)", name] + output.words
            StandardStreams.output(try await owner.perform(words))
            return
        }
        try await SnapshotOperation(context: context, directory: directory).perform(change)
        try output.show(
            Result(name: name, tag: tag, change: verb),
            "\(verb.past) the snapshot \(DisplayText.cleaned(tag)) of \(name)\n")
    }
}

struct SnapshotCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Takes a snapshot.", aliases: ["save"])

    @OptionGroup var arguments: SnapshotArguments

    func run() async throws { try await arguments.perform(.create) }
}

struct SnapshotApply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Returns to a snapshot; what was written since is lost.", aliases: ["load"])

    @OptionGroup var arguments: SnapshotArguments

    func run() async throws { try await arguments.perform(.apply) }
}

struct SnapshotDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Deletes a snapshot.", aliases: ["del"])

    @OptionGroup var arguments: SnapshotArguments

    func run() async throws { try await arguments.perform(.delete) }
}

struct SnapshotList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the snapshots of an instance.", aliases: ["ls"])

    @Argument(help: "The instance's name.") var name: String
    @Flag(name: .shortAndLong, help: "Only the tags.") var quiet = false
    @Flag(help: "One line of JSON for each snapshot.") var json = false

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(name)
        if let owner = try OwnerBoundary(name, context) {
            let words = ["snapshot", "list", name] + (quiet ? ["--quiet"] : []) + (json ? ["--json"] : [])
            StandardStreams.output(try await owner.perform(words))
            return
        }
        let snapshots = try await SnapshotOperation(context: context, directory: directory).list()
        if json {
            for snapshot in snapshots { StandardStreams.output(try JSONText.line(snapshot)) }
            return
        }
        if quiet {
            for snapshot in snapshots { StandardStreams.output(DisplayText.cleaned(snapshot.tag) + "\n") }
            return
        }
        let rows = snapshots.map { snapshot in
            [
                DisplayText.cleaned(snapshot.tag),
                Date(timeIntervalSince1970: Double(snapshot.seconds)).formatted(
                    Date.ISO8601FormatStyle(dateTimeSeparator: .space, timeZone: .current)),
                snapshot.memory == 0 ? "-" : ByteCount.format(snapshot.memory),
            ]
        }
        StandardStreams.output(
            TextTable.render(header: ["TAG", "TAKEN", "MEMORY"], cells: rows, below: rows.map { _ in [] }))
    }
}
