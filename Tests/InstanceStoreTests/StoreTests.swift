import Foundation
import HostModel
import HostOS
import HostTestSupport
import Images
import InstanceStore
import LimaConfiguration
import Testing

@Suite struct LimaHomeTests {
    @Test func whereItIs() throws {
        #expect(try LimaHome(environment: ["LIMA_HOME": "/x", "HOME": "/h"]).path == "/x")
        #expect(try LimaHome(environment: ["HOME": "/h"]).path == "/h/.lima")
        #expect(try LimaHome(environment: ["LIMA_HOME": "", "HOME": "/h"]).path == "/h/.lima")
        #expect(throws: HostError.self) { try LimaHome(environment: ["LIMA_HOME": "x"]) }
    }

    @Test func onlyDirectoriesWithNamesOfInstancesCount() throws {
        let scratch = try Scratch()
        for name in ["b", "a", "_config", ".hostagent-creating-x-1-2", "-x"] {
            try Files.makeDirectory("\(scratch.path)/\(name)")
        }
        try TextFile.replace(scratch.path + "/file", with: "")
        #expect(try LimaHome(path: scratch.path).instances().map(\.name.text) == ["a", "b"])
        #expect(try LimaHome(path: scratch.path + "/none").instances() == [])
    }

    @Test func socketPathsMustFit() throws {
        let name = try InstanceName("x")
        let longest = UnixSocket.maximumPathLength - "/x/chan.sock".utf8.count
        try LimaHome(path: "/" + String(repeating: "d", count: longest - 1)).directory(of: name).checkSocketPaths()
        let error = #expect(throws: HostError.self) {
            try LimaHome(path: "/" + String(repeating: "d", count: longest)).directory(of: name).checkSocketPaths()
        }
        #expect(error?.message.contains("108") == true && error?.message.contains("107") == true)
    }
}

/// Creates instances from images that qemu-img makes here.
@Suite(.enabled(if: Tool.path(of: "qemu-img", in: nil) != nil)) struct InstanceCreatorTests {
    private func image(_ scratch: borrowing Scratch, _ name: String = "image.qcow2") async throws -> String {
        let path = "\(scratch.path)/\(name)"
        let raw = path + ".raw"
        // The image has contents, so that a truncation removes some of them.
        try TextFile.replace(raw, with: [UInt8](repeating: 42, count: 1 << 20))
        #expect(try await Tool("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, path]).run().succeeded)
        return path
    }

    private func create(_ yaml: String, in home: String, name: String = "vm") async throws -> [String] {
        let provider = ImageCache(environment: ["XDG_CACHE_HOME": home + "/_cache"], version: "test")
        return try await InstanceCreator(home: LimaHome(path: home), provider: provider).create(
            name: InstanceName(name), source: yaml, file: "t.yaml"
        ) { _ in }
    }

    @Test func makesAllOrNothing() async throws {
        let scratch = try Scratch()
        let home = scratch.path + "/h"
        let yaml = "disk: 10MiB\nimages:\n- location: \(try await image(scratch))\n"
        _ = try await create(yaml, in: home)
        #expect(try Files.names(in: home) == ["vm"])
        #expect(try Files.names(in: home + "/vm") == ["basedisk", "disk", "lima.yaml"])
        let info = try await Tool("qemu-img", ["info", home + "/vm/disk"]).run().output
        #expect(info.contains("10 MiB") && info.contains("backing file: basedisk"))

        // The image may vanish or be replaced, because the instance has its own name for it.
        try Files.remove(scratch.path + "/image.qcow2")
        #expect(try await Tool("qemu-img", ["check", home + "/vm/disk"]).run().succeeded)

        let again = await #expect(throws: HostError.self) { try await create(yaml, in: home) }
        #expect(again?.exitStatus == .unavailable || again?.exitStatus == .cannotCreate)
        #expect(try Files.names(in: home) == ["vm"])
    }

    @Test func anExistingInstanceIsNotTouched() async throws {
        let scratch = try Scratch()
        let yaml = "images:\n- location: \(try await image(scratch))\n"
        _ = try await create(yaml, in: scratch.path + "/h")
        let before = try Files.fingerprint(#require(scratch.path + "/h/vm/disk" as String?))
        let error = await #expect(throws: HostError.self) { try await create(yaml, in: scratch.path + "/h") }
        #expect(error?.exitStatus == .cannotCreate)
        #expect(Files.fingerprint(scratch.path + "/h/vm/disk") == before)
    }

    @Test func aMissingImageIsUnavailable() async throws {
        let scratch = try Scratch()
        let error = await #expect(throws: HostError.self) {
            try await create("images:\n- location: /nonexistent.img\n", in: scratch.path + "/h")
        }
        #expect(error?.exitStatus == .unavailable)
        #expect(Files.kind(scratch.path + "/h") == nil, "nothing is made")
    }

    @Test func digestsAreChecked() async throws {
        let scratch = try Scratch()
        let path = try await image(scratch)
        let sum = try await Tool("sha256sum", [path]).run().output.prefix(64)
        let right = "images:\n- {location: \(path), digest: \"sha256:\(sum)\"}\n"
        _ = try await create(right, in: scratch.path + "/right")
        let wrong = right.replacing(sum.suffix(4), with: "0123")
        let error = await #expect(throws: HostError.self) { try await create(wrong, in: scratch.path + "/wrong") }
        #expect(error?.exitStatus == .badConfiguration)
        #expect(error?.message.contains(sum) == true, "says what it found")
        #expect(Files.kind(scratch.path + "/wrong") == nil)
    }

    @Test(arguments: [300_000, 70_000, 600, 10])
    func aTruncatedImageIsRefused(_ length: Int) async throws {
        let scratch = try Scratch()
        let path = try await image(scratch)
        let bytes = try TextFile.bytes(path)
        try TextFile.replace(path, with: Array(bytes.prefix(length)))
        let error = await #expect(throws: HostError.self) {
            try await create("images:\n- location: \(path)\n", in: scratch.path + "/h")
        }
        #expect(error?.exitStatus == .badConfiguration, "\(String(describing: error))")
        #expect(Files.kind(scratch.path + "/h") == nil)
    }

    @Test func aHomeThatCannotBeMadeIsSaid() async throws {
        let scratch = try Scratch()
        let yaml = "images:\n- location: \(try await image(scratch))\n"
        let error = await #expect(throws: HostError.self) { try await create(yaml, in: "/proc/no/home") }
        #expect(error?.exitStatus == .cannotCreate)
    }

    @Test func whatAKilledCreateLeftIsSwept() async throws {
        let scratch = try Scratch()
        let home = scratch.path + "/h"
        let me = try #require(ProcessIdentity.of(pid: HostProcess.pid))
        let own = ".hostagent-creating-b-\(me.pid)-\(me.startTime)"
        // These are not ours, however similar they look.
        let others = [".creating-a-99999999-1", ".hostagent-creating", ".hostagent-tmp-notes"]
        for leftover in [".hostagent-creating-a-99999999-1", own] + others {
            try Files.makeDirectory("\(home)/\(leftover)")
        }
        _ = try await create("images:\n- location: \(try await image(scratch))\n", in: home)
        // Files of processes that are gone are removed. Work of others that is under way stays.
        let instance = InstanceDirectory(name: try InstanceName("vm"), path: home + "/vm")
        try Files.makeDirectory(home + "/_config")
        let mine = TemporaryName.path(beside: instance.limaYAML)
        let name = ".hostagent-tmp-99999999-1-abc"
        let dead = ["\(home)/_config/\(name)", "\(instance.path)/\(name)"]
        // These are files of users, with names that earlier versions treated as leftovers.
        let users = ["notes.2024.new", "lima.yaml.20241101.new", "lima.yaml.99999999.new", "lima.edit.99999999.yaml"]
            .map { "\(instance.path)/\($0)" }
        for file in dead + users + [mine, instance.disk + ".new"] { try TextFile.replace(file, with: "x") }
        #expect(
            Leftovers.sweep(LimaHome(path: home)) == ["\(home)/.hostagent-creating-a-99999999-1", dead[0]])
        #expect(try Files.names(in: home) == (others + [own, "_config", "vm"]).sorted())
        #expect(Leftovers.sweep(instance) == [dead[1]])
        #expect(Leftovers.rescueDrafts(instance) == [])
        for file in users + [mine, instance.disk + ".new"] { #expect(Files.kind(file) == .regular, "\(file)") }
    }

    @Test func whatAKilledEditHadIsKept() async throws {
        let scratch = try Scratch()
        let home = scratch.path + "/h"
        _ = try await create("images:\n- location: \(try await image(scratch))\n", in: home)
        let instance = InstanceDirectory(name: try InstanceName("vm"), path: home + "/vm")
        let mine = instance.path + "/" + Leftovers.draftName()
        try TextFile.replace(mine, with: "under way")
        let dead = instance.path + "/.hostagent-draft-99999999-1.yaml"
        try TextFile.replace(dead, with: try TextFile.read(instance.limaYAML))
        #expect(Leftovers.rescueDrafts(instance).count == 1)
        #expect(Files.kind(dead) == nil)
        try TextFile.replace(dead, with: "typed")
        #expect(Leftovers.rescueDrafts(instance).first?.hasSuffix("lima.yaml.draft") == true)
        #expect(try TextFile.read(instance.limaYAML + ".draft") == "typed")
        #expect(try TextFile.read(mine) == "under way")
        #expect(Leftovers.rescueDrafts(instance) == [])
        // A second draft does not replace the first one.
        try TextFile.replace(dead, with: "typed later")
        #expect(Leftovers.rescueDrafts(instance).first?.hasSuffix("lima.yaml.draft.2") == true)
        #expect(try TextFile.read(instance.limaYAML + ".draft") == "typed")
        // A draft that cannot be read is left in place.
        try Files.makeDirectory(dead)
        #expect(Leftovers.rescueDrafts(instance) == [] && Files.kind(dead) == .directory)
    }

    @Test func aCompressedKernelIsExpanded() async throws {
        let scratch = try Scratch()
        try TextFile.replace(scratch.path + "/kernel", with: "a kernel")
        #expect(try await Tool("gzip", ["-k", scratch.path + "/kernel"]).run().succeeded)
        let yaml = """
            images:
            - location: \(try await image(scratch))
              kernel: {location: \(scratch.path)/kernel.gz, cmdline: "a b"}
            """
        _ = try await create(yaml, in: scratch.path + "/h")
        #expect(try TextFile.read(scratch.path + "/h/vm/kernel") == "a kernel")
        #expect(try TextFile.read(scratch.path + "/h/vm/kernel.cmdline") == "a b\n")
    }
}

/// The templates that are part of the program, with everything that they include.
@Suite struct InstanceTemplateTests {
    @Test(arguments: InstanceTemplate.names)
    func everyOneIsValid(_ name: String) async throws {
        let scratch = try Scratch()
        let store = TemplateStore(
            home: LimaHome(path: scratch.path), environment: ["HOME": "/home/a"],
            provider: ImageCache(environment: ["XDG_CACHE_HOME": scratch.path], version: "test"))
        let locator = Locator.template(name)
        let text = try await BaseEmbedding(reader: store).embedded(store.text(of: locator), at: locator)
        for architecture in [Architecture.x86_64, .aarch64] {
            let host = HostFacts(architecture: architecture, userName: "ada", uid: 1000, home: "/home/ada")
            // The guests that are built here are of this host's architecture.
            if text.text.contains("/hostagent/"), architecture != .host { continue }
            let resolved = try LimaYAML.resolve(ConfigurationLayers(text), for: InstanceName("vm"), host: host)
            #expect(resolved.warnings == [])
            // With its defaults written out, it means the same. JSON is YAML.
            let filled = String(decoding: try JSONEncoder().encode(resolved.document), as: UTF8.self)
            let again = try LimaYAML.resolve(
                ConfigurationLayers(ConfigurationText(filled, file: "filled.yaml")), for: InstanceName("vm"), host: host
            )
            #expect(again.document == resolved.document && again.configuration == resolved.configuration)
            let image = resolved.configuration.images[0].disk
            if case .address(let address) = image.location {
                #expect(address.hasPrefix("https://") && image.digest != nil)
            }
        }
    }

    /// A person's own template takes the place of the program's, also where another one includes it.
    @Test func ownTemplatesComeFirst() async throws {
        let scratch = try Scratch()
        try Files.makeDirectory(scratch.path + "/_templates/_images")
        try TextFile.replace(
            scratch.path + "/_templates/_images/debian.yaml", with: "images:\n- location: /mine.qcow2\n")
        let store = TemplateStore(
            home: LimaHome(path: scratch.path), environment: [:],
            provider: ImageCache(environment: ["XDG_CACHE_HOME": scratch.path], version: "test"))
        let locator = Locator.template("docker")
        let text = try await BaseEmbedding(reader: store).embedded(store.text(of: locator), at: locator)
        let configuration = try LimaYAML.resolve(
            ConfigurationLayers(text), for: InstanceName("vm"), host: .current
        ).configuration
        #expect(configuration.images.map(\.disk.location.description) == ["/mine.qcow2"])
        #expect(configuration.provisioning.contains { $0.script.contains("docker.io") })
    }
}
