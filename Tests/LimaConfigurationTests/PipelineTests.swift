import Foundation
import HostModel
import HostTestSupport
import InstanceStore
import LimaConfiguration
import Testing

/// Several files, variables, digests, and the page that is made from the tables.
@Suite struct PipelineTests {
    private static let image = "images:\n- location: /i.qcow2\n"

    @Test func theFirstFileThatHasAScalarWins() throws {
        let configuration = try resolve(
            Self.image + "cpus: 2\nssh: {localPort: 60022}\n", override: "cpus: 3\nmemory: null\n",
            defaults: "cpus: 1\nmemory: 1GiB\nssh: {localPort: 1}\nmessage: d\n"
        ).configuration
        #expect(configuration.cpus == 3 && configuration.memory == 1 << 30)
        #expect(configuration.sshLocalPort == 60022 && configuration.message == "d")
    }

    @Test func listsAreJoinedAndMappingsMerged() throws {
        let configuration = try resolve(
            Self.image + "env: {A: main, B: main}\nprobes: [{script: main}]\n",
            override: "env: {A: over}\nprobes: [{script: over}]\nuser: {name: bob}\n",
            defaults: "env: {C: low, B: low}\nprobes: [{script: low}]\nuser: {name: eve, uid: 1234}\n"
        ).configuration
        let values = Dictionary(uniqueKeysWithValues: configuration.environment.map { ($0.name, $0.value) })
        #expect(values == ["A": "over", "B": "main", "C": "low"])
        #expect(configuration.probes.map { $0.script.suffix(5).first { !$0.isNewline } } == ["o", "m", "l"].map { $0 })
        #expect(configuration.user.name == "bob" && configuration.user.uid == 1234)
    }

    @Test func aFaultNamesItsOwnFile() throws {
        let error = #expect(throws: HostError.self) {
            try resolve(Self.image + "disk: 1x\n", override: "cpus: many\n", defaults: "# nothing\n\nmemry: 1\n")
        }
        let text = try #require(error?.message)
        for place in ["override.yaml:1:7: cpus", "t.yaml:3:7: disk", "default.yaml:3:1: memry: unknown key"] {
            #expect(text.contains(place), "\(place) in:\n\(text)")
        }
        #expect(text.hasPrefix("the configuration of t.yaml has 3 mistakes:"), "\(text)")
    }

    @Test func filesThatSayNothingCount() throws {
        #expect(try resolve(Self.image, override: "# a\n\n  # b\n", defaults: "").configuration.cpus == 4)
        #expect(try Settings.load("# only a comment\n", file: "s").settings == Settings())
    }

    @Test func variablesStandForTheirValues() throws {
        let resolved = try resolve(
            Self.image + """
                user: {name: bob, uid: 7, home: "/srv/{{.User}}-{{ .UID }}-{{.Name}}"}
                param: {version: "1.2", x: "{{.Name}}"}
                provision:
                - script: "get {{.Param.version}} {{.Param.x}} {{.Home}} {{.Hostname}}"
                - script: "docker ps --format '{{.Names}}'"
                - script: "open {{ and no more"
                """)
        let configuration = resolved.configuration
        #expect(configuration.user.home == "/srv/bob-7-web.1")
        #expect(configuration.parameters.map(\.name) == ["version", "x"])
        let scripts = configuration.provisioning.map { $0.script.dropFirst("#!/bin/sh\n".count) }
        #expect(scripts[0] == "get 1.2 {{.Name}} /srv/bob-7-web.1 lima-web-1\n")
        #expect(scripts[1] == "docker ps --format '{{.Names}}'\n" && scripts[2] == "open {{ and no more\n")
        #expect(resolved.warnings.count == 2 && resolved.warnings[0].contains("{{.Names}} is not a variable"))
    }

    @Test(arguments: ["param: {a-b: x}", "param: {_a: x}", "param: {1: x}", "param: {a: [x]}", "param: {a: \"x\\ny\"}"])
    func parametersThatCannotBe(_ text: String) {
        #expect(throws: HostError.self) { try resolve(Self.image + text) }
    }

    @Test func aKeyWithoutEffectIsNamedOnce() throws {
        let warnings = try resolve(
            Self.image + "vmOpts: {vz: {x: 1}}\nmounts: []\nrosetta: null\ncontainerd: {user: false}\n"
        )
        .warnings
        #expect(warnings.count == 1)
        #expect(warnings[0] == "t.yaml:3:10: vmOpts.vz: has no effect here: it configures another driver")
    }

    @Test func changesAreToldApart() throws {
        let old = try resolve(Self.image + "cpus: 2\nmessage: a\ndisk: 5GiB\n").digests
        let new = try resolve(Self.image + "cpus: 3 # more\nmessage: b\ndisk: 6GiB\nenv: {A: b}\n").digests
        #expect(new.changes(since: old, where: \.isLive) == ["message"])
        #expect(new.changes(sinceStart: old.fixedAtStart) == ["cpus", "disk", "env"])
        let layout = try resolve("disk: 5GiB\nmessage: 'a'\n\ncpus:   2\nimages: [{location: /i.qcow2}]\n").digests
        #expect(layout == old)
        let settings = try Settings.load("accelerator: tcg\nstopGrace: 5s\n", file: "s").digests
        #expect(settings.fixedAtStart["accelerator"] == "tcg")
    }

    /// A record of version 0.2 holds digests of whole values. They agree with those of now.
    @Test func recordsOfEarlierVersionsAgree() throws {
        let text = "images:\n- location: /i.qcow2\n  arch: x86_64\ncpus: 2\nmemory: 256MiB\nenv: {A: b, C: 'd e'}\n"
        let record = [
            "images": "4f89d23fe147db", "cpus": "e2b4cefe72bfdd22", "memory": "f616ffa8d151578e",
            "env": "e6ee4808fbd658",
            "disk": "1", "vmType": "2",
        ]
        let now = try resolve(text).digests
        #expect(now.changes(sinceStart: record) == [])
        #expect(now.changes(sinceStart: now.fixedAtStart) == [])
        #expect(try resolve(text + "plain: true\n").digests.changes(sinceStart: record) == ["plain"])
        #expect(try resolve(text + "disk: 7GiB\n").digests.changes(sinceStart: now.fixedAtStart) == ["disk"])
        // An image of which only the location is given counts when the instance is created, and was in the record too.
        let bare = try resolve("images:\n- location: /i.qcow2\n").digests
        #expect(bare.changes(sinceStart: ["images": "9cb26490a9cfef9"]) == [] && bare.fixedAtStart["images"] == nil)
    }

    @Test func whatDoesNotCountDoesNotChangeADigest() throws {
        let plain = try resolve(Self.image + "ssh: {localPort: 7}\n").digests
        let more = try resolve(
            Self.image
                + "ssh: {localPort: 7, overVsock: true}\nmountTypesUnsupported: [9p]\ncpus: null\nuser: {name: null}\n"
        ).digests
        #expect(
            more.changes(sinceStart: plain.fixedAtStart) == [] && plain.changes(sinceStart: more.fixedAtStart) == [])
        let other = try resolve("images:\n- location: /other.qcow2\n").digests
        #expect(other.changes(sinceStart: try resolve(Self.image).digests.fixedAtStart) == [])
        #expect(other.changesOfCreation(since: try resolve(Self.image).digests) == ["images"])
        #expect(plain.changesOfCreation(since: plain) == [])
    }

    @Test func aWrongTypeInAnyFileIsFound() throws {
        let error = #expect(throws: HostError.self) {
            try resolve(
                Self.image + "env: {A: b}\nprobes: []\n", override: "ssh: 3\n", defaults: "env: 3\nprobes: {}\n")
        }
        let text = try #require(error?.message)
        for place in [
            "default.yaml:1:6: env: expected a mapping", "default.yaml:2:9: probes: expected a list",
            "override.yaml:1:6: ssh",
        ] {
            #expect(text.contains(place), "\(place) in:\n\(text)")
        }
    }

    @Test func theFileThatWinsSaysWhereAPortLeads() throws {
        let rule = "portForwards:\n- {hostPort: 8080, guestPort: "
        let forwards = try resolve(
            Self.image + rule + "1}\n", override: rule + "2}\n", defaults: rule + "3}\n"
        ).configuration.portForwards
        #expect(forwards.rules.map(\.guestPorts) == [2...2])
    }

    @Test func aValueThatIsOverriddenIsFound() throws {
        let layers = ConfigurationLayers(
            ConfigurationText("", file: "t"), override: ConfigurationText("cpus: 1\nssh: {localPort: 2}\n", file: "o"))
        #expect(try LimaYAML.place(of: "cpus", inOverrideOf: layers)?.description == "o:1:7")
        #expect(try LimaYAML.place(of: "ssh.localPort", inOverrideOf: layers)?.description == "o:2:18")
        #expect(try LimaYAML.place(of: "memory", inOverrideOf: layers) == nil)
        #expect(try LimaYAML.place(of: "ssh", inOverrideOf: layers) == nil)
    }

    /// Yams compares keys while it parses. As a key, a few lines of aliases take it for ever.
    @Test(
        .timeLimit(.minutes(1)), arguments: ["? *a11\n: 1\n", "*a11 : 1\n", "k: {[*a11]: 1}\n", "k: {{a: *a11} : 1}\n"])
    func aliasesAsKeysAreRefusedAtOnce(_ key: String) {
        var text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        for level in 1...11 {
            text +=
                "a\(level): &a\(level) [" + Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ",") + "]\n"
        }
        let error = #expect(throws: HostError.self) { try resolve(text + key) }
        #expect(error?.code == .badConfiguration)
    }

    @Test func anchorsMayBeUsed() throws {
        let text = "cpus: &n 2\nmessage: 'what? *n'\nenv: {A: &v one, B: *v}\nprovision:\n- script: 'echo *.txt && x'\n"
        #expect(try resolve(Self.image + text).configuration.environment.map(\.value) == ["one", "one"])
    }

    @Test func depthThroughAliasesIsLimited() {
        var text = "a0: &a0 [x]\n"
        for level in 1...200 { text += "a\(level): &a\(level) [[[[*a\(level - 1)]]]]\n" }
        let error = #expect(throws: HostError.self) { try resolve(text) }
        #expect(error?.message.contains("levels deep") == true)
    }

    @Test func aHomeIsNotMadeOfBraces() {
        #expect(throws: HostError.self) { try resolve(Self.image + "user: {home: '/h/{{.Usr}}'}\n") }
        #expect(throws: HostError.self) { try resolve(Self.image + "user: {home: '/h/{{.Home}}'}\n") }
    }

    @Test(arguments: [
        ("a: [\n", "t.yaml:2:1: not YAML"), ("cpus: 1\nmemory: 1GiB\ncpus: 2\n", "t.yaml:"),
        ("foo: 1\n", "unknown key"),
    ])
    func aFaultOfTheFileHasAPlace(_ text: String, _ place: String) {
        let error = #expect(throws: HostError.self) { try resolve(text) }
        #expect(error?.message.contains(place) == true, "\(error?.message ?? "")")
        #expect(error?.message.contains("did you mean") == false)
    }

    @Test func marksAndEmptyDocumentsSayNothing() throws {
        #expect(try resolve(Self.image, override: "\u{feff}# a\n---\n", defaults: "---\n").configuration.cpus == 4)
        #expect(try resolve("\u{feff}" + Self.image).configuration.cpus == 4)
    }

    @Test func keysAreNamedOnce() {
        let names = (LimaYAML.keys + Settings.keys).map(\.name)
        #expect(Set(names).count == names.count)
        #expect((LimaYAML.keys + Settings.keys).allSatisfy { $0.facts.part != nil && $0.facts.effect != nil })
    }

    @Test func thePageIsCurrent() throws {
        let path =
            #filePath.dropLast("/Tests/LimaConfigurationTests/PipelineTests.swift".count)
            + "/docs/lima-compatibility.md"
        if ProcessInfo.processInfo.environment["HOSTAGENT_UPDATE_DOCS"] == "1" {
            try CompatibilityPage.text.write(toFile: String(path), atomically: true, encoding: .utf8)
        }
        let page = try String(contentsOfFile: String(path), encoding: .utf8)
        #expect(page == CompatibilityPage.text, "run the test with HOSTAGENT_UPDATE_DOCS=1")
    }
}
