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
        #expect(configuration.portForwards.map(\.guestPort) == [1, 2])
        #expect(!whole.contains("base:"))
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

    @Test func whatIsFromStandardInputHasNoDirectory() async throws {
        await #expect(throws: HostError.self) { try await embedded("base: a.yaml\n", at: .standardInput) }
        #expect(try await embedded("base: /a.yaml\n", ["/a.yaml": Self.image], at: .standardInput).contains("/i.qcow2"))
    }

    /// An instance's own file depends on no other one.
    @Test func anInstanceHasNoBase() {
        #expect(throws: HostError.self) { try resolve("base: template:mini\n" + Self.image) }
        #expect(throws: HostError.self) { try resolve(Self.image + "probes: [{file: x}]\n") }
    }
}
