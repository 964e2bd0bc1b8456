import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct DiskCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disk", abstract: "Makes and removes disks that instances use beside their own.",
        subcommands: [DiskCreate.self, DiskList.self, DiskDelete.self, DiskResize.self, DiskUnlock.self])

    static func store() throws -> DiskStore { DiskStore(home: try OperationContext.current.home()) }

    /// Runs the command as the owner of the instances, if that is another account than root.
    /// - Returns: whether that was done.
    static func isForwarded(_ words: [String]) async throws -> Bool {
        guard let owner = try OwnerBoundary(nil, .current) else { return false }
        StandardStreams.output(try await owner.perform(["disk"] + words))
        return true
    }

    static func size(_ text: String) throws(HostError) -> Int {
        guard let bytes = ByteCount.parse(text), bytes >= 1 << 20, bytes <= 64 << 40 else {
            throw HostError(
                .usage, "\(InstanceName.quoted(text)) is not a size", hint: "expected 1MiB to 64TiB, such as 10GiB")
        }
        return bytes
    }
}

struct DiskCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "create", abstract: "Makes a disk.")

    enum Format: String, ExpressibleByArgument, CaseIterable { case qcow2, raw }

    @Argument(help: "The disk's name.") var name: String
    @Option(help: ArgumentHelp("Its size, such as 10GiB.", valueName: "size")) var size: String
    @Option(help: "qcow2 or raw.") var format = Format.qcow2

    func run() async throws {
        if try await DiskCommand.isForwarded(["create", name, "--size", size, "--format", format.rawValue]) { return }
        let bytes = try DiskCommand.size(size)
        try await DiskCommand.store().create(InstanceName(name), size: bytes, format: format.rawValue)
        StandardStreams.output("created the disk \(name)\n")
    }
}

struct DiskList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the disks.", aliases: ["ls"])

    @Flag(help: "One line of JSON for each disk.") var json = false

    /// Lima's fields.
    private struct Row: Encodable {
        var name: String
        var size: Int
        var format: String
        var dir: String
        var instance: String
        var instanceDir: String
    }

    func run() async throws {
        if try await DiskCommand.isForwarded(["list"] + (json ? ["--json"] : [])) { return }
        let disks = try DiskCommand.store().disks
        if json {
            for disk in disks {
                let user = disk.user ?? ""
                StandardStreams.output(
                    try JSONText.line(
                        Row(
                            name: disk.name.text, size: disk.size ?? 0, format: disk.format ?? "", dir: disk.directory,
                            instance: user.split(separator: "/").last.map(String.init) ?? "", instanceDir: user)))
            }
            return
        }
        let rows = disks.map { disk in
            [
                disk.name.text, disk.size.map(ByteCount.format) ?? "-", disk.format ?? "-", disk.directory,
                disk.user?.split(separator: "/").last.map(String.init) ?? "",
            ]
        }
        StandardStreams.output(
            TextTable.render(
                header: ["NAME", "SIZE", "FORMAT", "DIR", "IN-USE-BY"], cells: rows, below: rows.map { _ in [] }))
    }
}

struct DiskDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Removes disks with what is on them.", aliases: ["rm", "remove"])

    @Flag(name: .shortAndLong, help: "Also if a stopped instance names it.") var force = false
    @Argument(help: "The disks' names.") var names: [String]

    func run() async throws {
        if try await DiskCommand.isForwarded(["delete"] + (force ? ["--force"] : []) + names) { return }
        for name in names {
            try await DiskCommand.store().delete(InstanceName(name), force: force)
            StandardStreams.output("deleted the disk \(name)\n")
        }
    }
}

struct DiskResize: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "resize", abstract: "Makes a disk larger.")

    @Argument(help: "The disk's name.") var name: String
    @Option(help: ArgumentHelp("Its new size, such as 20GiB.", valueName: "size")) var size: String

    func run() async throws {
        if try await DiskCommand.isForwarded(["resize", name, "--size", size]) { return }
        try await DiskCommand.store().resize(InstanceName(name), to: DiskCommand.size(size))
        StandardStreams.output("resized the disk \(name)\n")
    }
}

struct DiskUnlock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unlock", abstract: "Takes a disk from an instance that does not run.")

    @Argument(help: "The disks' names.") var names: [String]

    func run() async throws {
        if try await DiskCommand.isForwarded(["unlock"] + names) { return }
        for name in names {
            try await DiskCommand.store().unlock(InstanceName(name))
            StandardStreams.output("unlocked the disk \(name)\n")
        }
    }
}
