import HostModel
import HostOS
import LimaConfiguration

/// Makes the disk, kernel and initrd of a guest in its directory, from the files that its configuration names. Existing
/// files are left alone, so the same code serves `create` and the first start of a directory that Lima made.
package struct Preparation: Sendable {
    private let configuration: Configuration

    package init(_ configuration: Configuration) { self.configuration = configuration }

    /// Checks the files that the configuration names. Makes nothing.
    /// - Throws: `HostError` as `SourceImage.verify` does, and `.badConfiguration` for a damaged image.
    package func check() async throws {
        let image = configuration.image
        try SourceImage.verify(image.disk, what: "image")
        if let direct = image.directBoot {
            try SourceImage.verify(direct.kernel, what: "kernel")
            if let initrd = direct.initrd { try SourceImage.verify(initrd, what: "initrd") }
        }
        guard try SourceImage.format(of: image.disk.path) == .qcow2 else { return }
        try await refuseOtherFiles(image.disk.path)
        // qemu-img(1), check: status 0 is consistent, 3 is leaked clusters only, anything else is damage.
        let result = try await Tool("qemu-img", ["check", "-q", "-U", "-f", "qcow2", image.disk.path]).run()
        guard result.succeeded || result.status == 3 else {
            throw HostError(
                .badConfiguration, "the image \(image.disk.path) is damaged: \(result.complaint)",
                hint: "get the file again; qemu-img check shows all that is wrong")
        }
        try await checkLength(image.disk.path)
    }

    /// Refuses an image that names other files as parts of itself. Whoever made the image chose these files, and the
    /// guest would be able to read them.
    private func refuseOtherFiles(_ path: String) async throws {
        let info = try await Tool("qemu-img", ["info", "-U", "-f", "qcow2", "--output=json", path]).run()
        for (key, what) in [("\"backing-filename\"", "a backing file"), ("\"data-file\"", "an external data file")]
        where info.output.contains(key + ":") {
            throw HostError(
                .badConfiguration, "the image \(path) names \(what)",
                hint: "make it whole: qemu-img convert -O qcow2 \(path) whole.qcow2")
        }
    }

    /// Refuses a truncated image. `qemu-img check` accepts one if only the end of its data is gone, although its tables
    /// name clusters beyond the end of the file.
    private func checkLength(_ path: String) async throws {
        let map = try await Tool("qemu-img", ["map", "-U", "-f", "qcow2", "--output=json", path]).run(
            outputLimit: 256 << 20)
        guard map.succeeded, !map.isCut else {
            let reason = map.isCut ? "it has too many extents to be checked" : map.complaint
            throw HostError(.badConfiguration, "the image \(path) is damaged: \(reason)")
        }
        let size = Files.size(path) ?? 0
        for line in map.output.split(separator: "\n") {
            guard line.contains("\"depth\": 0"), let offset = number("\"offset\": ", in: line),
                let length = number("\"length\": ", in: line),
                line.contains("\"compressed\": false") || !line.contains("compressed")
            else { continue }
            if offset + length > size {
                throw HostError(
                    .badConfiguration,
                    "the image \(path) is cut short: it has \(size) bytes and needs \(offset + length)",
                    hint: "get the file again")
            }
        }
    }

    private func number(_ key: String, in line: Substring) -> Int? {
        guard let range = line.firstRange(of: key) else { return nil }
        return Int(line[range.upperBound...].prefix { $0.isNumber })
    }

    /// Makes the files that are missing.
    /// - Throws: `HostError`; `.cannotCreate` for a full disk and similar failures.
    package func make(in directory: InstanceDirectory) async throws {
        let image = configuration.image
        if let direct = image.directBoot {
            if Files.kind(directory.kernel) == nil { try await expand(direct.kernel.path, to: directory.kernel) }
            if let initrd = direct.initrd, Files.kind(directory.initrd) == nil {
                try await making(directory.initrd) { temporary in try Files.copy(initrd.path, to: temporary) }
            }
            try attempt(directory.kernelCommandLine) { () throws(SystemCallError) in
                try TextFile.replace(directory.kernelCommandLine, with: direct.commandLine + "\n")
            }
        }
        if Files.kind(directory.disk) == nil {
            // A console log means that the guest has run before. Its disk was moved away, or a volume is missing.
            if [directory.serialLog, directory.serialLog + ".1"].contains(where: { Files.kind($0) != nil }) {
                throw HostError(
                    .badConfiguration, "the disk \(directory.disk) is gone, and this instance has run already",
                    hint: "put it back; to begin with an empty disk, delete the instance and create it again")
            }
            try await makeDisk(in: directory)
        }
    }

    /// Makes a copy-on-write disk over a copy of the image. Changing or replacing the image later does not affect the
    /// disks made from it. The copy shares extents with the image if the file system supports that.
    private func makeDisk(in directory: InstanceDirectory) async throws {
        let image = configuration.image.disk.path
        let format = try SourceImage.format(of: image)
        if Files.kind(directory.baseDisk) == nil {
            try await making(directory.baseDisk) { temporary in try Files.copy(image, to: temporary) }
        }
        try await making(directory.disk) { temporary in
            let create = Tool(
                "qemu-img",
                ["create", "-q", "-f", "qcow2", "-b", directory.baseDisk, "-F", format.rawValue, temporary])
            try await run(create, makes: directory.disk)
            let size = try await virtualSize(of: temporary)
            if configuration.disk > size {
                try await run(
                    Tool("qemu-img", ["resize", "-q", "-f", "qcow2", temporary, String(configuration.disk)]),
                    makes: directory.disk)
            }
            // The path of the base is relative to the disk, so that the whole directory can be moved.
            let rebase = [
                "rebase", "-q", "-u", "-f", "qcow2", "-b", "basedisk", "-F", format.rawValue, temporary,
            ]
            try await run(Tool("qemu-img", rebase), makes: directory.disk)
        }
    }

    private func virtualSize(of path: String) async throws -> Int {
        let info = try await Tool("qemu-img", ["info", "-U", "--output=json", path]).run()
        for line in info.output.split(separator: "\n") {
            if let size = number("\"virtual-size\": ", in: line) { return size }
        }
        throw HostError(.badConfiguration, "qemu-img does not say how large \(path) is: \(info.complaint)")
    }

    /// Copies a kernel. A compressed one is expanded, because that is slow in an emulated guest.
    private func expand(_ source: String, to destination: String) async throws {
        let magics: [(bytes: [UInt8], tool: String)] = [
            ([0x28, 0xb5, 0x2f, 0xfd], "zstd"), ([0x1f, 0x8b], "gzip"), ([0xfd, 0x37, 0x7a, 0x58], "xz"),
        ]
        let start = (try? Descriptor(path: source, flags: 0).read(upTo: 4, subject: source)) ?? []
        if let compressed = magics.first(where: { start.starts(with: $0.bytes) }) {
            // The shell makes the file. Names are passed as arguments, never as part of the script.
            let script = #"exec "$1" -dc < "$2" > "$3""#
            try await making(destination) { temporary in
                let expand = Tool("sh", ["-c", script, "sh", compressed.tool, source, temporary])
                try await run(expand, makes: destination)
            }
        } else {
            try await making(destination) { temporary in try Files.copy(source, to: temporary) }
        }
    }

    /// - Throws: `HostError` that names the file. Nothing is left behind in that case.
    private func making(_ path: String, _ make: (String) async throws -> Void) async throws {
        do {
            try await TemporaryName.making(path, make)
        } catch let error as SystemCallError {
            throw Self.failure(path, error)
        }
    }

    private func run(_ tool: Tool, makes path: String) async throws {
        let result = try await tool.run()
        guard result.succeeded else {
            throw HostError(
                .cannotCreate, "cannot make \(path): \(tool.executable) said: \(result.complaint)",
                hint: "is there room on the disk, and may you write there?")
        }
    }

    private func attempt(_ path: String, _ body: () throws(SystemCallError) -> Void) throws(HostError) {
        do {
            try body()
        } catch {
            throw Self.failure(path, error)
        }
    }

    private static func failure(_ path: String, _ error: SystemCallError) -> HostError {
        HostError(
            .cannotCreate, "cannot make \(path): \(error.reason)",
            hint: error.isFull ? "make room on that disk" : nil)
    }
}
