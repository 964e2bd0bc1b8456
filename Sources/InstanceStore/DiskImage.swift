import HostModel
import HostOS
import LimaConfiguration

/// The format of a disk image, by its first bytes. A guest could write these bytes into its raw disk, so this is only asked
/// of images that a person named, and of disks that this program or Lima made.
enum DiskFormat: Sendable, Equatable {
    case raw
    case qcow2(QCOW2Header)

    /// QEMU's name.
    var name: String {
        switch self {
        case .raw: "raw"
        case .qcow2: "qcow2"
        }
    }

    /// The size in bytes as a guest sees it.
    func virtualSize(of path: String) -> Int {
        switch self {
        case .raw: Files.size(path) ?? 0
        case .qcow2(let header): header.virtualSize
        }
    }

    /// - Throws: `HostError` if the file cannot be read.
    static func of(_ path: String) throws(HostError) -> DiskFormat {
        let header: QCOW2Header?
        do {
            let descriptor = try Descriptor(path: path, flags: 0)
            let start = try descriptor.read(upTo: QCOW2Header.size, subject: path)
            guard QCOW2Header.isQCOW2(start) else { return .raw }
            header = QCOW2Header(start)
        } catch {
            throw HostError(.notPermitted, "cannot read \(path): \(error.reason)")
        }
        guard let header else {
            throw HostError(
                .badConfiguration, "the qcow2 image \(path) is cut short: it ends within its header",
                hint: "get the file again")
        }
        return .qcow2(header)
    }
}

/// The parts of a qcow2 header that matter before QEMU opens the file (QEMU's docs/interop/qcow2). Numbers are big-endian.
struct QCOW2Header: Sendable, Equatable {
    static let size = 104
    private static let magic: [UInt8] = [0x51, 0x46, 0x49, 0xfb]

    /// 2 or 3; QEMU calls these compat levels 0.10 and 1.1.
    let version: UInt64
    /// The guest's view, in bytes.
    let virtualSize: Int
    /// Where in the file the name of the backing file is, and how many bytes it has.
    private let backingName: (offset: Int, count: Int)
    var hasBackingFile: Bool { backingName.offset != 0 }
    /// The guest's data is in another file (incompatible feature bit 2, version 3 only).
    let hasExternalData: Bool

    static func isQCOW2(_ bytes: [UInt8]) -> Bool { bytes.starts(with: magic) }

    /// Nil for anything else than a whole header.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 72, Self.isQCOW2(bytes) else { return nil }
        func number(_ offset: Int, _ count: Int) -> UInt64 {
            bytes[offset..<offset + count].reduce(0) { $0 << 8 | UInt64($1) }
        }
        version = number(4, 4)
        virtualSize = Int(clamping: number(24, 8))
        backingName = (Int(clamping: number(8, 8)), Int(clamping: number(16, 4)))
        hasExternalData = version >= 3 && bytes.count >= 80 && number(72, 8) & 4 != 0
    }

    static func == (left: Self, right: Self) -> Bool {
        left.version == right.version && left.virtualSize == right.virtualSize
            && left.backingName == right.backingName && left.hasExternalData == right.hasExternalData
    }

    /// The name of the backing file of an image with this header; empty if it has none or the name cannot be read.
    func backingFile(in path: String) -> String {
        // The specification allows 1023 bytes, within the first cluster, which has at most 2 MiB.
        guard hasBackingFile, 1...1023 ~= backingName.count, backingName.offset <= 2 << 20,
            let descriptor = try? Descriptor(path: path, flags: 0),
            let start = try? descriptor.read(upTo: backingName.offset + backingName.count, subject: path),
            start.count == backingName.offset + backingName.count
        else { return "" }
        return String(decoding: start[backingName.offset...], as: UTF8.self)
    }
}

/// The disk of an instance.
package struct InstanceDisk: Sendable {
    private let path: String
    private let format: DiskFormat

    /// QEMU's name of the format.
    package var formatName: String { format.name }

    /// - Returns: nil if the instance has no disk yet.
    /// - Throws: `HostError` if the disk must not be used. A guest that once had a raw disk may have written a header
    ///   into it that names files of the host.
    package init?(_ directory: InstanceDirectory) throws(HostError) {
        path = directory.disk
        guard Files.kind(path) != nil else { return nil }
        format = try DiskFormat.of(path)
        guard case .qcow2(let header) = format else { return }
        let backing = header.backingFile(in: path)
        if header.hasBackingFile, backing.isEmpty {
            throw HostError(
                .badConfiguration, "the qcow2 disk \(path) is damaged: the name of its backing file cannot be read",
                hint: "qemu-img check shows all that is wrong; a backup may be needed")
        }
        let isOwn = !header.hasBackingFile || ["basedisk", directory.baseDisk].contains(backing)
        guard isOwn, !header.hasExternalData else {
            throw HostError(
                .badConfiguration,
                header.hasExternalData
                    ? "the disk \(path) keeps its data in another file"
                    : "the disk \(path) has the backing file \(InstanceName.quoted(backing)), not basedisk",
                hint: "only files of the instance's own directory are given to a guest; see qemu-img rebase")
        }
    }

    private var size: Int { format.virtualSize(of: path) }

    /// Names the base of a disk relative to the disk, so that the directory can be moved and copied. Lima's older versions
    /// name it by its path.
    /// - Parameter others: names of the base that are accepted, too.
    package static func makeMovable(_ directory: InstanceDirectory, accepting others: [String] = []) async throws {
        let path = directory.disk
        guard Files.kind(path) != nil, case .qcow2(let header) = try DiskFormat.of(path), header.hasBackingFile,
            ([directory.baseDisk] + others).contains(header.backingFile(in: path))
        else { return }
        let base = try DiskFormat.of(directory.baseDisk)
        let rebase = ["rebase", "-q", "-u", "-f", "qcow2", "-b", "basedisk", "-F", base.name, path]
        let result = try await Tool("qemu-img", rebase).run()
        guard result.succeeded else {
            throw HostError(.cannotCreate, "cannot make \(path) name its base anew: \(result.complaint)")
        }
    }

    /// Copies the disk of a running guest as it was in a snapshot. The base must be in the clone's directory already, if
    /// there is one.
    package static func copy(_ source: InstanceDirectory, at tag: String, to clone: InstanceDirectory) async throws {
        guard let disk = try InstanceDisk(source), case .qcow2(let header) = disk.format else {
            throw HostError(.unavailable, "\(source.disk) cannot contain snapshots")
        }
        var convert = ["convert", "-q", "-U", "-t", "writeback", "-f", "qcow2", "-O", "qcow2"]
        // A comma ends a value in QEMU's option syntax, and a doubled comma stands for one.
        convert += ["-l", "snapshot.name=" + tag.replacing(",", with: ",,")]
        if header.hasBackingFile {
            convert += ["-B", "basedisk", "-F", try DiskFormat.of(clone.baseDisk).name]
        }
        // Older versions of Lima call the disk `diffdisk`.
        let target = clone.path + source.disk.dropFirst(source.path.count)
        let result = try await Tool("qemu-img", convert + [source.disk, target]).run()
        guard result.succeeded else {
            throw HostError(.cannotCreate, "cannot copy \(source.disk): \(result.complaint)", hint: "is there room?")
        }
    }

    /// The size of an instance's disk in bytes, as a guest sees it; nil if it has none yet or it cannot be read.
    package static func size(of directory: InstanceDirectory) -> Int? {
        let path = directory.disk
        return Files.kind(path) == .regular ? (try? DiskFormat.of(path))?.virtualSize(of: path) : nil
    }

    /// Refuses a size that is smaller than the disk.
    /// - Parameter base: the image that the disk was made from, which may be larger than the size; nil if it may not.
    package func requireRoom(in wanted: Int, base: String? = nil) throws(HostError) {
        if wanted >= size { return }
        if let base, Files.kind(base) != nil, try DiskFormat.of(base).virtualSize(of: base) == size { return }
        throw HostError(
            .badConfiguration,
            "disk: \(ByteCount.format(wanted)) is smaller than the disk, which has \(ByteCount.format(size))",
            hint: "a disk can only grow; its file system would be cut off")
    }

    /// Makes the disk as large as the configuration says. No guest may run.
    /// - Throws: `HostError` if the disk would have to shrink.
    func grow(to wanted: Int, base: String) async throws {
        try requireRoom(in: wanted, base: base)
        if wanted <= size { return }
        let resize = Tool("qemu-img", ["resize", "-q", "-f", formatName, path, String(wanted)])
        let result = try await resize.run()
        guard result.succeeded else {
            throw HostError(.cannotCreate, "cannot make the disk \(path) larger: \(result.complaint)")
        }
    }
}

/// Checks an image before a guest gets it.
struct ImageCheck {
    /// The file that is checked.
    let path: String
    /// Where it came from, for messages.
    let origin: String

    /// - Throws: `HostError` with `.badConfiguration` for an image that is damaged, cut short, or names other files as
    ///   parts of itself.
    func run() async throws {
        guard case .qcow2(let header) = try DiskFormat.of(path) else { return try checkRaw() }
        try refuseOtherFiles(header)
        // Both read all tables of the image, beside each other.
        async let length: Void = checkLength()
        // qemu-img(1), check: status 0 is consistent, 3 is leaked clusters only, anything else is damage.
        let result = try await Tool("qemu-img", ["check", "-q", "-U", "-f", "qcow2", path]).run()
        guard result.succeeded || result.status == 3 else {
            throw HostError(
                .badConfiguration, "the image \(origin) is damaged: \(result.complaint)",
                hint: "get the file again; qemu-img check shows all that is wrong")
        }
        try await length
    }

    /// A raw image may contain anything, but some files are certainly not a disk.
    private func checkRaw() throws(HostError) {
        let start: [UInt8]
        do {
            start = try Descriptor(path: path, flags: 0).read(upTo: 512, subject: path)
        } catch {
            throw HostError(.notPermitted, "cannot read \(path): \(error.reason)")
        }
        let text = String(decoding: start, as: UTF8.self).trimmed.lowercased()
        let reason: String? =
            if start.count < 512 {
                start.isEmpty ? "it is empty" : "it has \(start.count) bytes, which is less than one sector"
            } else if text.hasPrefix("<!doctype") || text.hasPrefix("<html") || text.hasPrefix("<?xml") {
                "it is a web page"
            } else if let format = Self.foreignFormats.first(where: { start[$0.offset...].starts(with: $0.magic) }) {
                "it is in the format \(format.name), which is not supported"
            } else if origin.split(separator: "?").first?.hasSuffix(".qcow2") == true {
                "its name says qcow2, but its content is not"
            } else {
                nil
            }
        guard let reason else { return }
        throw HostError(
            .badConfiguration, "the image \(origin) cannot be a disk: \(reason)",
            hint: "qemu-img convert -O qcow2 makes an image of other formats; otherwise get the file again")
    }

    /// Formats of other programs, by their first bytes (qemu/block/{vmdk,vdi,vhdx,vpc}.c).
    private static let foreignFormats: [(name: String, offset: Int, magic: [UInt8])] = [
        ("VMDK", 0, Array("KDMV".utf8)), ("VMDK", 0, Array("# Disk DescriptorFile".utf8)),
        ("VDI", 64, [0x7f, 0x10, 0xda, 0xbe]), ("VHDX", 0, Array("vhdxfile".utf8)),
        ("VHD", 0, Array("conectix".utf8)),
    ]

    /// Whoever made the image chose these files, and the guest would be able to read them.
    private func refuseOtherFiles(_ header: QCOW2Header) throws(HostError) {
        guard header.hasBackingFile || header.hasExternalData else { return }
        throw HostError(
            .badConfiguration,
            "the image \(origin) names \(header.hasBackingFile ? "a backing file" : "an external data file")",
            hint: "make it whole: qemu-img convert -O qcow2 IMAGE whole.qcow2")
    }

    /// Refuses a truncated image. `qemu-img check` accepts one if only the end of its data is gone, although its tables
    /// name clusters beyond the end of the file.
    private func checkLength() async throws {
        let map = try await Tool("qemu-img", ["map", "-U", "-f", "qcow2", "--output=json", path]).run(
            outputLimit: 256 << 20)
        guard map.succeeded, !map.isCut else {
            let reason = map.isCut ? "it has too many extents to be checked" : map.complaint
            throw HostError(.badConfiguration, "the image \(origin) is damaged: \(reason)")
        }
        let size = Files.size(path) ?? 0
        for line in map.output.split(separator: "\n") {
            guard line.contains("\"depth\": 0"), let offset = Self.number("\"offset\": ", in: line),
                let length = Self.number("\"length\": ", in: line),
                line.contains("\"compressed\": false") || !line.contains("compressed")
            else { continue }
            if offset + length > size {
                throw HostError(
                    .badConfiguration,
                    "the image \(origin) is cut short: it has \(size) bytes and needs \(offset + length)",
                    hint: "get the file again")
            }
        }
    }

    private static func number(_ key: String, in line: Substring) -> Int? {
        guard let range = line.firstRange(of: key) else { return nil }
        return Int(line[range.upperBound...].prefix { $0.isNumber })
    }
}

/// How a file was compressed, by its first bytes.
enum Compression: String, Sendable, CaseIterable {
    case gzip, bzip2, xz, zstd

    private var magic: [UInt8] {
        switch self {
        case .gzip: [0x1f, 0x8b]
        case .bzip2: [0x42, 0x5a, 0x68]
        case .xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]
        case .zstd: [0x28, 0xb5, 0x2f, 0xfd]
        }
    }

    /// What the name of a file or an address says; nil if it says nothing.
    static func named(by name: String) -> Compression? {
        let endings: [(String, Compression)] = [(".gz", .gzip), (".bz2", .bzip2), (".xz", .xz), (".zst", .zstd)]
        let path = name.split(separator: "?").first ?? ""
        return endings.first { path.hasSuffix($0.0) }?.1
    }

    /// Nil if the file is not compressed.
    static func of(_ path: String) throws(SystemCallError) -> Compression? {
        let start = try Descriptor(path: path, flags: 0).read(upTo: 6, subject: path)
        return allCases.first { start.starts(with: $0.magic) }
    }

    /// Writes the expanded content to a new file.
    /// - Throws: `HostError` if the program is missing or the data is damaged.
    func expand(_ source: String, to destination: String) async throws {
        // The shell makes the file. Names are passed as arguments, never as part of the script.
        let script = #"exec "$1" -dc < "$2" > "$3""#
        let result = try await Tool("sh", ["-c", script, "sh", rawValue, source, destination]).run()
        guard result.succeeded else {
            if Tool.path(of: rawValue, in: HostProcess.searchPath) == nil {
                throw HostError(
                    .unavailable, "\(source) is compressed, and there is no \(rawValue) to expand it",
                    hint: HostPackages.install(self == .xz ? "xz-utils" : rawValue, homebrew: rawValue))
            }
            throw HostError(
                result.complaint.contains("No space") ? .cannotCreate : .badConfiguration,
                "cannot expand \(source): \(rawValue) said: \(result.complaint)",
                hint: "get the file again, or make room on the disk")
        }
    }
}
