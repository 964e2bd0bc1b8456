import Foundation
import HostModel
import HostTestSupport
import InstanceStore
import LimaConfiguration
import Testing

/// The keys of what a guest of a real distribution is set up with.
@Suite struct GuestSetupKeyTests {
    private func resolve(_ text: String) throws -> ResolvedConfiguration {
        try LimaYAML.resolve(
            ConfigurationLayers(ConfigurationText("images:\n- location: /i.qcow2\n" + text, file: "t.yaml")),
            for: InstanceName("vm"),
            host: HostFacts(architecture: .x86_64, userName: "ada", uid: 1000, home: "/home/ada"))
    }

    @Test func filesAndEditsAreProvisioned() throws {
        let configuration = try resolve(
            """
            provision:
            - {mode: data, path: "{{.Home}}/a.txt", content: "{{.User}}", owner: "{{.User}}", permissions: 600, overwrite: false}
            - {mode: yq, path: /etc/x.json, expression: ".a = 1"}
            - {mode: boot, script: "true"}
            """
        ).configuration
        let file = try #require(configuration.dataFiles.first)
        #expect(file.path == "/home/ada.guest/a.txt" && file.content == "ada" && !file.overwrites)
        #expect(file.attributes.owner == "ada" && file.attributes.permissions == "600")
        #expect(configuration.documentEdits.map(\.path) == ["/etc/x.json"])
        #expect(configuration.documentEdits.first?.attributes.owner == "root:root")
        #expect(configuration.provisioning.map(\.mode) == [.boot])
    }

    @Test(arguments: [
        ("provision: [{mode: data, content: x}]", "path: missing"),
        ("provision: [{mode: data, path: /x}]", "content: missing"),
        ("provision: [{mode: data, path: x, content: y}]", "expected the absolute path"),
        ("provision: [{mode: data, path: /x, content: y, permissions: 9}]", "octal digits"),
        ("provision: [{mode: data, path: /x, content: y, owner: \"a b\"}]", "expected a user"),
        ("provision: [{mode: yq, path: /x}]", "expression: missing"),
        ("caCerts: {certs: [x]}", "certificate in PEM"), ("caCerts: {files: [x]}", "absolute path"),
        ("timezone: ../etc/passwd", "time zone"), ("timezone: \"a b\"", "time zone"),
        ("hostResolver: {hosts: {a: \"b c\"}}", "host name"),
        ("user: {passwordlessSudo: false}", "needs plain: true"),
        ("ssh: {localPort: 22}", "22 is the port"), ("minimumLimaVersion: 9.0.0", "compatible with Lima 2.2.0"),
        ("minimumLimaVersion: x", "version such as"), ("os: Plan9", "not known"),
    ])
    func whatCannotBeIsSaid(_ text: String, _ words: String) {
        let error = #expect(throws: HostError.self) { try resolve(text) }
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
    }

    /// `validate` accepts them, and a start says why it cannot.
    @Test func whatOtherHostsRunIsUnderstood() throws {
        let configuration = try resolve("vmType: vz\nos: Darwin\ntpm: true\nminimumLimaVersion: 2.1\n").configuration
        #expect(configuration.refusals.count == 3 && configuration.refusals[0].hasPrefix("vmType: vz: "))
        #expect(try resolve("vmType: qemu\nos: Linux\ntpm: false\n").configuration.refusals == [])
    }

    @Test func theMessageIsATemplate() throws {
        let text = "param: {x: y}\nmessage: \"host=unix://{{.Dir}}/sock lima-{{.Name}} {{.Param.x}} {{.User}}\"\n"
        let message = try resolve(text).configuration.message(of: InstanceName("vm"), in: "/l/vm")
        #expect(message == "host=unix:///l/vm/sock lima-vm y ada")
    }

    /// Conditions as in Go's text/template.
    @Test(
        arguments: [
            ("{{if .Name}}x{{end}}", "x"), ("a{{if .Param.none}}x{{else}}y{{end}}b", "ayb"),
            ("{{if eq .Param.x \"z\"}}1{{else if eq .Param.x \"w\" \"y\"}}2{{else}}3{{end}}", "2"),
            ("{{if and .Param.x (not .Param.none)}}1{{end}}{{if or .Param.none false}}2{{end}}", "1"),
            ("{{if ne .Name `vm`}}{{if true}}1{{end}}{{else}}{{if .Param.none}}2{{else}}3{{end}}{{end}}", "3"),
            ("a  {{- /* not shown */ -}}  b {{.Name -}} ! {{eq .CPUs 4}} {{and .Param.x .Name}}", "ab vm! true vm"),
            ("{{if .Param.none}}{{.Dir}}{{end}}{{\"{{\"}} x {{\"}}\"}}{{/* }} */}}", "{{ x }}"),
            ("{{if .Param.undefined}}1{{else}}2{{end}}{{if 0}}3{{end}}{{if 7}}4{{end}}{{eq 04 4}}", "24true"),
            // What is not understood is shown as it is.
            ("{{if .Name}}x", "{{if .Name}}x"), ("x{{end}}", "x{{end}}"), ("{{range .Param}}x{{end}}", nil),
            ("{{if .Nothing}}x{{end}}", nil), ("{{if}}x{{end}}", nil), ("{{if .Name}}{{else}}{{else}}{{end}}", nil),
            ("{{.Name | printf}}", nil), ("{{.Param.undefined}}", nil), ("{{`a}}", nil), ("{{/* }}", nil),
            ("{{eq .Name \(String(repeating: "\"\" ", count: 3000))}}", nil), ("{{\"a", nil), ("{{\"a}}", nil),
            ("{{eq .Name}}", nil), ("{{(.Name}}", nil),
            ("{{}}", nil),
            (String(repeating: "{{if .Name}}", count: 50) + String(repeating: "{{end}}", count: 50), nil),
            ("{{" + String(repeating: "(", count: 50) + ".Name" + String(repeating: ")", count: 50) + "}}", nil),
        ] as [(String, String?)])
    func conditionsInMessages(_ message: String, _ expected: String?) throws {
        let indented = message.replacing("\n", with: "\n  ")
        let configuration = try resolve("param: {x: y, none: \"\"}\nmessage: |-\n  \(indented)\n").configuration
        #expect(try configuration.message(of: InstanceName("vm"), in: "/l/vm") == expected ?? message)
    }

    /// What `list` gives to other programs: what the files say, and the defaults.
    @Test func theDocument() throws {
        let resolved = try resolve("cpus: 2\nenv: {A: \"1\"}\nmessage: \"\"\nssh: {localPort: 60022}\nplain: False\n")
        guard case .mapping(let values) = resolved.document, case .mapping(let ssh) = values["ssh"],
            case .list(let images) = values["images"]
        else {
            Issue.record("not a mapping: \(resolved.document)")
            return
        }
        #expect(values["cpus"] == .integer(2) && values["memory"] == .text("4GiB") && values["plain"] == .flag(false))
        #expect(values["arch"] == .text(resolved.configuration.architecture.rawValue) && values["message"] == .text(""))
        #expect(values["env"] == .mapping(["A": .text("1")]))
        #expect(ssh["localPort"] == .integer(60022) && ssh["forwardAgent"] == .flag(false) && images.count == 1)
    }

    /// Written out with its defaults, a configuration means the same. What looks like a number or a truth value is not one
    /// where a text is read.
    @Test(arguments: [
        "param: {commit: 8567e10, hex: 0xff, octal: 007, token: , version: 1.20, yes: True}",
        "env: {A: 007, B: 0xff, C: True, D: 1e3, E: .inf, F: , G: 123456789012345678901234567890}",
        "provision: [{mode: data, path: /x, content: 1.0, permissions: 0044}, {script: \"#!/bin/sh\\n# }}\\n\"}]",
        "vmOpts: {qemu: {minimumVersion: 9.10}}", "memory: 1073741824", "timezone: \"\"", "plain: TRUE",
        "ssh: {localPort: 060022}", "additionalDisks: [007, {name: b, format: False}]",
        "portForwards: [{guestPortRange: [1, 20], hostIP: 0.0.0.0}]", "dns: [1.1.1.1]", "message: 12",
    ])
    func theDocumentMeansTheSame(_ text: String) throws {
        let first = try resolve(text + "\n")
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let json = String(decoding: try encoder.encode(first.document), as: UTF8.self)
        let again = try LimaYAML.resolve(
            ConfigurationLayers(ConfigurationText(json, file: "filled.yaml")), for: InstanceName("vm"),
            host: HostFacts(architecture: .x86_64, userName: "ada", uid: 1000, home: "/home/ada"))
        #expect(again.configuration == first.configuration && again.document == first.document, "\(json)")
        let decoded = try JSONDecoder().decode(ConfigurationDocument.self, from: Data(json.utf8))
        #expect(decoded == first.document)
    }

    @Test func copiesToTheHost() throws {
        let text = """
            param: {x: y}
            copyToHost:
            - {guest: "{{.Home}}/a", host: "{{.Dir}}/from/{{.Name}}-{{.Param.x}}", deleteOnStop: true}
            - {guest: /etc/b, host: ~/b, skipIfMissing: true}
            """
        let copies = try resolve(text).configuration.copiesToHost
        #expect(copies.map(\.guestPath) == ["/home/ada.guest/a", "/etc/b"])
        #expect(copies.map { $0.hostPath(in: "/l/vm") } == ["/l/vm/from/vm-y", "/home/ada/b"])
        #expect(copies.map(\.isRemovedAtStop) == [true, false] && copies.map(\.skipsMissing) == [false, true])
        for wrong in ["{guest: a, host: /b}", "{guest: /a, host: b}", "{guest: /a}", "{guest: /a, host: /b/}"] {
            #expect(throws: HostError.self) { try resolve("copyToHost: [\(wrong)]\n") }
        }
    }

    /// Templates of Lima name architectures that this program does not run. A start is refused, a template is not.
    @Test(arguments: ["armv7l", "ppc64le", "riscv64", "s390x"])
    func otherArchitecturesAreUnderstood(_ architecture: String) throws {
        let image = "- {location: /o, arch: \(architecture)}\n"
        let there = try LimaYAML.resolve(
            ConfigurationLayers(ConfigurationText("images:\n- location: /i\n" + image, file: "t.yaml")),
            for: InstanceName("vm"), host: .current)
        #expect(there.configuration.images.map(\.disk.location.description) == ["/i"] && there.warnings == [])
        let chosen = try LimaYAML.resolve(
            ConfigurationLayers(ConfigurationText("arch: \(architecture)\nimages:\n" + image, file: "t.yaml")),
            for: InstanceName("vm"), host: .current)
        #expect(chosen.configuration.refusals.count == 1)
    }

    @Test func theFirstImageDecidesTheVariant() throws {
        let text = """
            - {location: /a, variant: minimal}
            - {location: /b}
            - {location: /c, variant: minimal}
            - {location: /d, arch: aarch64, variant: minimal}
            """
        let layers = ConfigurationLayers(ConfigurationText("images:\n" + text, file: "t.yaml"))
        let host = HostFacts(architecture: .x86_64, userName: "ada", uid: 1000, home: "/home/ada")
        let images = try LimaYAML.resolve(layers, for: InstanceName("vm"), host: host).configuration.images
        #expect(images.map(\.disk.location.description) == ["/a", "/c"])
    }
}

@Suite struct AdditionalDiskKeyTests {
    private func resolve(_ text: String) throws -> Configuration {
        try LimaYAML.resolve(
            ConfigurationLayers(ConfigurationText("images:\n- location: /i.qcow2\n" + text, file: "t.yaml")),
            for: InstanceName("vm"),
            host: HostFacts(architecture: .x86_64, userName: "ada", uid: 1000, home: "/home/ada")
        ).configuration
    }

    @Test func aNameOrAMapping() throws {
        let disks = try resolve(
            "additionalDisks: [a, {name: b, format: false}, {name: c, fsType: xfs, fsArgs: [-K]}, {name: a, format: false}]\n"
        ).additionalDisks
        #expect(disks.map(\.name.text) == ["a", "b", "c"])
        // As in Lima, what the first entry about a disk does not say is taken from the next one.
        #expect(disks.map(\.isFormatted) == [false, false, true])
        #expect(disks.map(\.fileSystem) == ["ext4", "ext4", "xfs"] && disks[2].arguments == ["-K"])
    }

    @Test(arguments: [
        ("[\"../x\"]", "not an instance name"), ("[{format: true}]", "name: missing"),
        ("[{name: a, fsType: \"a b\"}]", "file system"),
        ("[{name: a, fsArgs: [\"a b\"]}]", "without spaces"), ("{}", "expected a list"),
    ])
    func whatCannotBeIsSaid(_ text: String, _ words: String) {
        let error = #expect(throws: HostError.self) { try resolve("additionalDisks: \(text)\n") }
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
    }
}
