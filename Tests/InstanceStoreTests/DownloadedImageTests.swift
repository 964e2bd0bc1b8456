import HostModel
import HostOS
import HostTestSupport
import Images
import InstanceStore
import LimaConfiguration
import NIOHTTP1
import Testing

/// Instances made from images that a web server sends.
@Suite(.enabled(if: Tool.path(of: "qemu-img", in: nil) != nil)) struct DownloadedImageTests {
    private static func qcow2(_ path: String, _ options: [String] = []) async throws -> [UInt8] {
        let created = try await Tool("qemu-img", ["create", "-q", "-f", "qcow2"] + options + [path, "1M"]).run()
        guard created.succeeded else { throw HostError(.failed, created.error) }
        return try TextFile.bytes(path)
    }

    private static func provider(_ directory: String) -> ImageCache {
        ImageCache(environment: ["XDG_CACHE_HOME": directory + "/cache"], version: "test")
    }

    private static func create(_ yaml: String, in directory: String) async throws {
        _ = try await InstanceCreator(home: LimaHome(path: directory + "/h"), provider: provider(directory)).create(
            name: InstanceName("vm"), source: yaml, file: "t.yaml"
        ) { _ in }
    }

    private static func instance(_ directory: String) throws -> Instance {
        try Instance(LimaHome(path: directory + "/h").directory(of: InstanceName("vm")))
    }

    @Test func theFirstImageThatCanBeHadIsUsed() async throws {
        let scratch = try Scratch()
        let image = try await Self.qcow2(scratch.path + "/i")
        let server = try await WebServer { request, _ in
            request.uri == "/good" ? .file(image, for: request) : WebServer.Answer(.notFound)
        }
        let zeros = String(repeating: "0", count: 64)
        let yaml = """
            disk: 1MiB
            images:
            - {location: "\(server.address("/gone"))", arch: x86_64}
            - {location: "\(server.address("/good"))", arch: x86_64, digest: "sha256:\(zeros)"}
            - {location: "\(server.address("/other"))", arch: riscv64x}
            """
        let both = yaml.replacing("riscv64x", with: "aarch64").replacing("x86_64", with: Architecture.host.rawValue)
        let error = await #expect(throws: HostError.self) { try await Self.create(both, in: scratch.path) }
        #expect(error?.message.hasPrefix("none of the 2 images can be used:\n- ") == true)
        #expect(error?.message.contains("404 Not Found") == true && error?.message.contains(zeros) == true)
        #expect(Files.kind(scratch.path + "/h") == nil)

        try await Self.create(both.replacing(", digest: \"sha256:\(zeros)\"", with: ""), in: scratch.path)
        let instance = try Self.instance(scratch.path)
        #expect(instance.settings.sources.map(\.location) == [server.address("/good")])
        #expect(instance.settings.sources[0].digest?.algorithm == .sha256)
        #expect(instance.image.disk.location == .address(server.address("/good")))
        await server.close()
    }

    @Test func whatWasDownloadedWithoutADigestIsPinned() async throws {
        let scratch = try Scratch()
        let (image, other) = (try await Self.qcow2(scratch.path + "/i"), try await Self.qcow2(scratch.path + "/j"))
        let server = try await WebServer { request, count in
            .file(count == 0 ? image : other + [0], for: request, etag: "\"\(count)\"")
        }
        try await Self.create("disk: 1MiB\nimages:\n- location: \(server.address("/x"))\n", in: scratch.path)
        // The disk and the cache are lost.
        var instance = try Self.instance(scratch.path)
        let directory = instance.directory
        for file in [directory.disk, directory.baseDisk, scratch.path + "/cache"] { try Files.remove(file) }
        let preparation = Preparation(
            instance.configuration, sources: instance.settings.sources, provider: Self.provider(scratch.path))
        let error = await #expect(throws: HostError.self) { try await preparation.make(in: directory) { _ in } }
        #expect(error?.code == .badConfiguration)
        #expect(error?.message.contains("is not what this instance was made from") == true)
        #expect(error?.hint?.contains("hostagent.yaml") == true)
        #expect(Files.kind(directory.disk) == nil && Files.kind(directory.baseDisk) == nil)

        // The person accepts the new bytes.
        try Files.remove(directory.settings)
        instance = try Self.instance(scratch.path)
        try await Preparation(instance.configuration, provider: Self.provider(scratch.path))
            .make(in: directory) { _ in }
        #expect(Files.kind(directory.disk) == .regular)
        await server.close()
    }

    @Test(arguments: ["gzip", "bzip2", "xz", "zstd"])
    func compressedImagesAreExpanded(_ program: String) async throws {
        let scratch = try Scratch()
        let image = try await Self.qcow2(scratch.path + "/i")
        let packed = scratch.path + "/packed"
        #expect(
            try await Tool("sh", ["-c", #""$1" -c < "$2" > "$3""#, "sh", program, scratch.path + "/i", packed])
                .run().succeeded)
        try await Self.create("disk: 1MiB\nimages:\n- location: \(packed)\n", in: scratch.path)
        #expect(try TextFile.bytes(Self.instance(scratch.path).directory.baseDisk) == image)

        try TextFile.replace(packed, with: Array(try TextFile.bytes(packed).dropLast(20)))
        try Files.remove(scratch.path + "/h")
        let error = await #expect(throws: HostError.self) {
            try await Self.create("images:\n- location: \(packed)\n", in: scratch.path)
        }
        #expect(error?.code == .badConfiguration && error?.message.contains(program) == true)
        #expect(Files.kind(scratch.path + "/h") == nil)
    }

    @Test(arguments: [
        ("i", "", "it is empty"), ("i", "short", "less than one sector"),
        ("i", "<!DOCTYPE html>" + String(repeating: " ", count: 600), "it is a web page"),
        ("i", "KDMV" + String(repeating: "x", count: 600), "VMDK"),
        ("i", "vhdxfile" + String(repeating: "x", count: 600), "VHDX"),
        ("i", String(repeating: "\0", count: 64) + "\u{7f}\u{10}", "less than one sector"),
        ("i.qcow2", String(repeating: "x", count: 600), "its name says qcow2"),
        ("i.img.gz", String(repeating: "x", count: 600), "not compressed by gzip"),
        ("i.zst", String(repeating: "x", count: 600), "not compressed by zstd"),
    ])
    func whatIsNoDiskIsRefused(_ name: String, _ content: String, _ reason: String) async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/" + name
        try TextFile.replace(path, with: content)
        let error = await #expect(throws: HostError.self) {
            try await Self.create("images:\n- location: \(path)\n", in: scratch.path)
        }
        #expect(error?.code == .badConfiguration && error?.message.contains(reason) == true, "\(error as Any)")
        #expect(error?.message.contains(path) == true)
        #expect(Files.kind(scratch.path + "/h") == nil)
    }

    /// The guest would be able to read these files.
    @Test(arguments: [
        (["-b", "/etc/shadow", "-F", "raw", "-u"], "a backing file"),
        (["-o", "data_file=data.raw"], "an external data file"),
        (["-o", "compat=0.10", "-b", "/etc/shadow", "-F", "raw", "-u"], "a backing file"),
    ])
    func otherFilesOfTheHostAreRefused(_ options: [String], _ what: String) async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/i"
        _ = try await Self.qcow2(path, options.map { $0.replacing("data.raw", with: scratch.path + "/data.raw") })
        let error = await #expect(throws: HostError.self) {
            try await Self.create("images:\n- location: \(path)\n", in: scratch.path)
        }
        #expect(error?.message.contains("names \(what)") == true)
        #expect(Files.kind(scratch.path + "/h") == nil)
    }

    @Test(arguments: ["0.10", "1.1"]) func bothVersionsOfQcow2(_ compatibility: String) async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/i"
        _ = try await Self.qcow2(path, ["-o", "compat=\(compatibility)"])
        try await Self.create("disk: 2MiB\nimages:\n- location: \(path)\n", in: scratch.path)
        let info = try await Tool("qemu-img", ["info", Self.instance(scratch.path).directory.disk]).run().output
        #expect(info.contains("2 MiB") && info.contains("backing file: basedisk"))
    }
}
