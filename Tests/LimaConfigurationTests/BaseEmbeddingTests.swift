import HostModel
import LimaConfiguration
import Testing

/// Templates in memory. A template that is not there is an error, as on a disk.
private struct FakeTemplates: TemplateReader {
    var texts: [String: String]

    func text(of locator: Locator) async throws(HostError) -> ConfigurationText {
        guard let text = texts[locator.description] else {
            throw HostError(.unavailable, "there is no template \(locator)")
        }
        return ConfigurationText(text, file: locator.description)
    }
}

@Suite struct BaseEmbeddingTests {
    private func embedded(
        _ text: String, _ others: [String: String] = [:], at locator: Locator = .file("/t/top.yaml"),
        after first: Locator? = nil
    ) async throws -> String {
        try await BaseEmbedding(reader: FakeTemplates(texts: others)).embedded(
            ConfigurationText(text, file: "top.yaml"), at: locator, after: first
        ).text
    }

    private func failure(_ text: String, _ others: [String: String] = [:]) async -> HostError? {
        await #expect(throws: HostError.self) { try await embedded(text, others) }
    }

    private static let image = "images:\n- location: /i.qcow2\n"

    @Test func aTemplateWithoutBasesStaysAsItIs() async throws {
        let text = "# mine\ncpus: 2 # two\n" + Self.image
        #expect(try await embedded(text) == text)
    }

    @Test func theTemplatesOwnValuesCount() async throws {
        let whole = try await embedded(
            "base: [a.yaml, template:b]\ncpus: 2\nenv: {A: top}\nprobes: [{script: top}]\nportForwards: [{guestPort: 1}]\n",
            [
                "/t/a.yaml":
                    "cpus: 3\nmemory: 1GiB\nenv: {A: a, B: a}\nprobes: [{script: a}]\nportForwards: [{guestPort: 2}]\n",
                "template:b": "memory: 2GiB\nmessage: b\nenv: {B: b, C: b}\nprobes: [{script: b}]\n" + Self.image,
            ])
        let configuration = try resolve(whole).configuration
        #expect(configuration.cpus == 2 && configuration.memory == 1 << 30 && configuration.message == "b")
        let environment = Dictionary(uniqueKeysWithValues: configuration.environment.map { ($0.name, $0.value) })
        #expect(environment == ["A": "top", "B": "a", "C": "b"])
        // The scripts of bases come first, other lists begin with the template's own elements.
        #expect(configuration.probes.map { $0.script.split(separator: "\n").last } == ["a", "b", "top"])
        #expect(configuration.portForwards.rules.map(\.guestPorts) == [1...1, 2...2])
        #expect(!whole.contains("base:"))
    }

    @Test func commentsOfTheTemplateAreKept() async throws {
        let others = ["/t/a.yaml": "# lost\nmemory: 1GiB\nenv: {B: b}\nprovision: [{script: a}]\n" + Self.image]
        let text = """
            # at the top
            base: a.yaml # this goes
            # before the processors
            cpus: 2 # two
            env:
              # within what is merged
              A: a
            # before the script
            provision:
            - script: |
                #!/bin/sh
                # of the script
            # at the end
            """
        let whole = try await embedded(text, others)
        for comment in [
            "at the top", "before the processors", "two", "before the script", "of the script", "at the end",
        ] {
            #expect(whole.contains("# \(comment)"), "\(whole)")
        }
        #expect(
            whole.hasPrefix("# at the top\n# before the processors\ncpus: 2 # two\nenv:\n") && !whole.contains("base"))
        let configuration = try resolve(whole).configuration
        #expect(configuration.environment.count == 2 && configuration.memory == 1 << 30)
        #expect(configuration.provisioning.map(\.script) == ["#!/bin/sh\na\n", "#!/bin/sh\n# of the script\n"])
    }

    /// Forms in which comments cannot be kept mean the same as the others.
    @Test(arguments: [
        "{base: a.yaml, cpus: 2}\n", "---\nbase: a.yaml\ncpus: 2\n...\n", "base: &x a.yaml\ncpus: 2\nmessage: *x\n",
        "cpus: 2\r\nbase: a.yaml\r\n", "\"base\": a.yaml\ncpus: 2\n", "? base\n: a.yaml\n? cpus\n: 2\n",
        "cpus: 2\nbase:\n- a.yaml\n# end", "base: a.yaml\ncpus: 2\nmessage: |\n  x\n\n\n",
    ])
    func everyFormMeansTheSame(_ text: String) async throws {
        let whole = try await embedded(text, ["/t/a.yaml": "memory: 1GiB\nenv: {B: b}\n" + Self.image])
        let configuration = try resolve(whole).configuration
        #expect(configuration.cpus == 2 && configuration.memory == 1 << 30, "\(whole)")
        #expect(configuration.environment.count == 1)
    }

    @Test func basesHaveBasesAndTheirOwnDirectories() async throws {
        let whole = try await embedded(
            "base: template:_images/x\ncpus: 1\n",
            ["template:_images/x": "base: {url: y.yaml}\n", "template:_images/y": "memory: 3GiB\n" + Self.image])
        #expect(try resolve(whole).configuration.memory == 3 << 30)
    }

    @Test func scriptsInFilesAreTakenIn() async throws {
        let script = "#!/bin/sh\n# it's \"quoted\": yes\n\techo {{.Param.x}} > /x\n"
        let whole = try await embedded(
            Self.image + "param: {x: y}\nprovision:\n- {mode: user, file: scripts/a.sh}\n- script: b\n",
            ["/t/scripts/a.sh": script])
        let provisioning = try resolve(whole).configuration.provisioning
        #expect(provisioning.map(\.script) == [script.replacing("{{.Param.x}}", with: "y"), "#!/bin/sh\nb\n"])
        #expect(provisioning[0].mode == .user)
    }

    @Test func theBaseOfAllTemplatesComesFirst() async throws {
        let whole = try await embedded(
            Self.image + "base: own.yaml\n", ["/c/base.yaml": "cpus: 3\n", "/t/own.yaml": "cpus: 2\nmemory: 1GiB\n"],
            after: .file("/c/base.yaml"))
        let configuration = try resolve(whole).configuration
        #expect(configuration.cpus == 3 && configuration.memory == 1 << 30)
    }

    @Test func templatesThatIncludeEachOther() async throws {
        let error = await failure(
            "base: a.yaml\n", ["/t/a.yaml": "cpus: 1\nbase:\n- b.yaml\n", "/t/b.yaml": "base: a.yaml\n"])
        #expect(
            error?.message
                == "/t/b.yaml:1:7: base: the templates include each other: /t/a.yaml → /t/b.yaml → /t/a.yaml")
        #expect(await failure("base: top.yaml\n")?.message.contains("top.yaml:1:7") == true)
    }

    @Test func aLongChainAndAHugeOne() async throws {
        var texts: [String: String] = [:]
        for level in 0..<100 { texts["/t/\(level).yaml"] = "base: \(level + 1).yaml\n" }
        texts["/t/100.yaml"] = "cpus: 7\n" + Self.image
        #expect(try resolve(try await embedded("base: 0.yaml\n", texts)).configuration.cpus == 7)
        let big = "message: " + String(repeating: "x", count: 900_000) + "\n"
        let many = Dictionary(uniqueKeysWithValues: (0..<6).map { ("/t/\($0).yaml", big) })
        let error = await failure("base: [0.yaml, 1.yaml, 2.yaml, 3.yaml, 4.yaml, 5.yaml]\n", many)
        #expect(error?.code == .badConfiguration && error?.message.contains("more than 4MiB") == true)
    }

    @Test(arguments: [
        ("base: nothing.yaml", "top.yaml:1:7: base: there is no template /t/nothing.yaml"),
        ("base: ../up.yaml", "leads out of the template's directory"),
        ("base: ftp://x/y", "the scheme \"ftp\" is not known"),
        ("base: {digest: x, url: a}", "cannot have a digest"), ("base: {ur: a}", "expected a locator"),
        ("base: [[a]]", "found a list"),
        ("base: ''", "it is empty"), ("base: '-'", "standard input cannot be included"),
        ("base: 'template:'", "not the name of a template"),
        ("provision: [{file: a, script: b}]", "either a file or a script"),
        ("probes: [{file: x.sh}]", "top.yaml:1:17: probes: file: there is no template /t/x.sh"),
    ])
    func mistakesHaveAPlace(_ text: String, _ expected: String) async {
        let error = await failure(text + "\n")
        #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
        #expect(error?.message.hasPrefix("top.yaml:1:") == true)
    }

    @Test(arguments: [
        ("lima-vm", "lima-vm/lima-vm/HEAD/.lima.yaml"), ("a/b", "a/b/HEAD/.lima.yaml"),
        ("a//t/x", "a/a/HEAD/t/x.yaml"), ("a/b/t/x", "a/b/HEAD/t/x.yaml"), ("a/b/t/x.yml", "a/b/HEAD/t/x.yml"),
        ("a/b/t/@v1.2", "a/b/v1.2/t/.lima.yaml"), ("a/b/x@feature/one", "a/b/feature/one/x.yaml"),
        ("a/b/.hidden", "a/b/HEAD/.hidden.yaml"),
    ])
    func placesOnGitHub(_ place: String, _ path: String) throws {
        let locator = try Locator("github:" + place, within: .standardInput)
        #expect(locator == .address("https://raw.githubusercontent.com/" + path))
        // Its bases are in the same directory.
        let sibling = path.split(separator: "/").dropLast().joined(separator: "/") + "/base.yaml"
        #expect(
            try Locator("base.yaml", within: locator) == .address("https://raw.githubusercontent.com/" + sibling))
    }

    @Test(arguments: [
        "", "/", "a/b/../c", "a/b/c@..", "a/b/c@x/../y", "a/b c", "a/b/c?d", "a/b/c@", "a/./c", "a/b/%2e%2e",
    ])
    func notOnGitHub(_ place: String) {
        #expect(throws: HostError.self) { try Locator("github:" + place, within: .standardInput) }
    }

    @Test(arguments: [
        ("b.yaml", "o/r/HEAD/d/b.yaml"), ("../x/./b.yaml", "o/r/HEAD/x/b.yaml"), ("cpus: 2\n", nil), ("b.yaml\n", nil),
        ("", nil), ("{}", nil), ("two words", nil),
    ])
    func linksInRepositories(_ text: String, _ target: String?) throws {
        let files = "https://raw.githubusercontent.com/"
        let link = Locator.address(files + "o/r/HEAD/d/.lima.yaml")
        #expect(try link.target(ofLink: text) == target.map { .address(files + $0) })
        for other in [
            "https://example.com/o/r/HEAD/.lima.yaml", files + "o/r/HEAD/d/a.yaml", files, files + ".lima.yaml",
        ] {
            #expect(try Locator.address(other).target(ofLink: text) == nil)
        }
    }

    @Test(arguments: ["../../b.yaml", "/etc/passwd", "../../../o/r/HEAD/b", "x//b"])
    func linksThatLeadOut(_ text: String) {
        let link = Locator.address("https://raw.githubusercontent.com/o/r/HEAD/d/.lima.yaml")
        #expect(throws: HostError.self) { try link.target(ofLink: text) }
    }

    @Test func whatIsFromStandardInputHasNoDirectory() async throws {
        await #expect(throws: HostError.self) { try await embedded("base: a.yaml\n", at: .standardInput) }
        #expect(try await embedded("base: /a.yaml\n", ["/a.yaml": Self.image], at: .standardInput).contains("/i.qcow2"))
    }

    /// An instance's own file depends on no other one.
    @Test func anInstanceHasNoBase() {
        #expect(throws: HostError.self) { try resolve("base: template:mini\n" + Self.image) }
        #expect(throws: HostError.self) { try resolve(Self.image + "probes: [{file: x}]\n") }
    }

    /// Entries about one disk, mount point or interface become one; what the first says counts.
    @Test func entriesAboutOneThingAreCombined() async throws {
        let whole = try await embedded(
            """
            base: b.yaml
            additionalDisks: [data, {name: logs, fsType: xfs}, {name: "*", format: false}]
            mounts: [{location: "~"}, {location: /srv, mountPoint: /mnt/srv, sshfs: {cache: false}}]
            networks: [{interface: lima0, lima: shared}]
            """,
            [
                "/t/b.yaml": """
                additionalDisks:
                - {name: data, fsType: btrfs, fsArgs: ["-L", "x"]}
                - {name: more, format: true}
                - {name: "*", fsArgs: ["-f"]}
                mounts:
                - {location: /elsewhere, mountPoint: /mnt/srv, writable: true, sshfs: {cache: true, followSymlinks: true}}
                - {location: "*", writable: false}
                networks:
                - {interface: lima0, socket: /run/x, macAddress: "02:00:00:00:00:01"}
                - {interface: lima1, socket: /run/y}

                """ + Self.image
            ])
        let configuration = try resolve(whole).configuration
        #expect(configuration.additionalDisks.map(\.name.text) == ["data", "logs", "more"])
        #expect(configuration.additionalDisks.map(\.fileSystem) == ["btrfs", "xfs", "ext4"])
        #expect(configuration.additionalDisks.map(\.isFormatted) == [false, false, true])
        #expect(configuration.additionalDisks.map(\.arguments) == [["-L", "x"], ["-f"], ["-f"]])
        let lines = whole.split(separator: "\n").map { $0.trimmingPrefix { $0 == " " || $0 == "-" } }
        #expect(lines.filter { $0.hasPrefix("location: ") && !$0.contains("qcow2") }.count == 2)
        #expect(
            lines.filter { $0 == "writable: true" }.count == 1 && lines.filter { $0 == "writable: false" }.count == 1)
        #expect(lines.contains("cache: false") && lines.contains("followSymlinks: true"))
        #expect(whole.contains("02:00:00:00:00:01") && !whole.contains("/run/x") && whole.contains("/run/y"))
    }
}
