import HostModel
import InstanceStore
import LimaConfiguration
import Testing

/// A configuration of one file for the instance `web.1`.
func resolve(
    _ text: String, override: String? = nil, defaults: String? = nil,
    host: HostFacts = HostFacts(architecture: .x86_64, userName: "ada", uid: 1000, home: "/home/ada")
) throws -> ResolvedConfiguration {
    let layers = ConfigurationLayers(
        ConfigurationText(text, file: "t.yaml"),
        override: override.map { ConfigurationText($0, file: "override.yaml") },
        defaults: defaults.map { ConfigurationText($0, file: "default.yaml") })
    return try LimaYAML.resolve(layers, for: try InstanceName("web.1"), host: host)
}

@Suite struct LimaYAMLTests {
    private func load(_ text: String) throws -> ResolvedConfiguration { try resolve(text) }

    private static let image = "images:\n- location: /i.qcow2\n"

    @Test func defaultsAreLimas() throws {
        let configuration = try load(Self.image).configuration
        #expect(configuration.cpus == 4)
        #expect(configuration.memory == 4 << 30)
        #expect(configuration.disk == 100 << 30)
        #expect(configuration.sshLocalPort == nil)
        #expect(
            configuration.user
                == .init(name: "ada", comment: "", uid: 1000, home: "/home/ada.guest", shell: "/bin/bash"))
        #expect(!configuration.plain && !configuration.legacyBIOS)
        #expect(configuration.images[0].directBoot == nil)
    }

    @Test func everythingAtOnce() throws {
        let loaded = try load(
            """
            vmType: qemu
            arch: x86_64
            cpus: 2
            memory: 1.5GiB
            disk: "20g"
            vmOpts: {qemu: {cpuType: {x86_64: "qemu64,+rdrand"}}}
            images:
            - location: /arm.img
              arch: aarch64
            - location: file:///x.img
              arch: x86_64
              digest: "sha256:\(String(repeating: "A", count: 64))"
              kernel: {location: ~/vmlinuz, cmdline: "quiet a=1"}
              initrd: {location: /initrd}
            ssh: {localPort: 60022}
            user: {name: bob, uid: 1234, home: /home/b, shell: /bin/sh, comment: "B: o"}
            env: {A: "1", B_2: "it's"}
            plain: false
            message: hello
            provision:
            - {mode: user, script: "echo hi"}
            - {script: "#!/bin/bash\\necho ho"}
            probes:
            - {description: d, script: "true", hint: h}
            mountTypesUnsupported: [9p]
            mountInotify: true
            """)
        let configuration = loaded.configuration
        #expect(configuration.memory == 3 << 29)
        #expect(configuration.disk == 20 << 30)
        #expect(configuration.processor == "qemu64,+rdrand")
        #expect(configuration.images[0].disk.location.description == "/x.img")
        #expect(configuration.images[0].disk.digest?.hex == String(repeating: "a", count: 64))
        #expect(configuration.images[0].directBoot?.kernel.location.description == "/home/ada/vmlinuz")
        #expect(configuration.images[0].directBoot?.commandLine == "quiet a=1")
        #expect(configuration.sshLocalPort == 60022)
        #expect(configuration.user == .init(name: "bob", comment: "B o", uid: 1234, home: "/home/b", shell: "/bin/sh"))
        #expect(configuration.environment == [.init(name: "A", value: "1"), .init(name: "B_2", value: "it's")])
        #expect(configuration.provisioning.map(\.mode) == [.user, .system])
        #expect(configuration.provisioning.map(\.script) == ["#!/bin/sh\necho hi\n", "#!/bin/bash\necho ho\n"])
        #expect(configuration.probes.first?.hint == "h")
        #expect(configuration.mountInotify)
        #expect(loaded.warnings.count == 1)
        #expect(loaded.warnings.first?.contains("t.yaml:25:1: mountTypesUnsupported") == true, "\(loaded.warnings)")
    }

    @Test func allFaultsAtOnceWithLineAndColumn() throws {
        let error = #expect(throws: HostError.self) {
            try load(
                """
                vmType: vx
                cpus: many
                memory: -1
                disk: 1KiB
                imags: []
                images:
                - location: relative.img
                  digest: md5:123
                ssh: [1]
                env: {"1A": x, B: "two\\nlines"}
                plain: maybe
                provision:
                - mode: sometimes
                  script: x
                - mode: system
                probes: {}
                user: {name: "Not A Name"}
                """)
        }
        let text = try #require(error?.message)
        #expect(error?.exitStatus == .badConfiguration)
        for expected in [
            "t.yaml:1:9: vmType: \"vx\" is not known", "t.yaml:2:7: cpus: expected a whole number",
            "t.yaml:3:9: memory: expected a size",
            "t.yaml:4:7: disk", "t.yaml:5:1: imags: unknown key; did you mean images?",
            "t.yaml:7:13: images[0].location: expected an absolute path", "t.yaml:8:11: images[0].digest",
            "t.yaml:9:6: ssh: expected a mapping, found a list", "env.1A", "env.B: expected one line",
            "t.yaml:11:8: plain: expected true or false", "provision[0].mode: expected system or user or boot",
            "provision[1]: script: missing", "probes: expected a list", "user.name",
        ] {
            #expect(text.contains(expected), "\(expected) in:\n\(text)")
        }
    }

    @Test(arguments: [
        "", "# nothing\n", "[]", "- a\n", "just text", "a: [", "a: b: c", "\t", "a: 1\na: 2\n", "images: []",
        "images:\n- location: ftp://example.org/i.img\n", "images:\n- location: https:///i.img\n",
        "images:\n- {location: /a, arch: aarch64}\n",
        "images:\n- {location: /a, initrd: {location: /b}}\n", "cpus: 2\n", "images: null", "\u{0}", "? [a]\n: b\n",
    ])
    func refusesWhatMakesNoSense(_ text: String) {
        let error = #expect(throws: HostError.self) { try load(text) }
        #expect(error?.exitStatus == .badConfiguration)
    }

    @Test func refusesHugeFilesAtOnce() {
        let error = #expect(throws: HostError.self) {
            try load(Self.image + "message: " + String(repeating: "x", count: 10 << 20))
        }
        #expect(error?.message.contains("bytes") == true)
    }

    @Test(arguments: ["[", "{a: ", "- ", "? "])
    func deepNestingIsRefusedNotFollowed(_ unit: String) {
        #expect(throws: HostError.self) { try load(String(repeating: unit, count: 100_000)) }
    }

    @Test(.timeLimit(.minutes(1))) func anchorsThatExplodeCostNothing() {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        for level in 1...40 {
            text += "a\(level): &a\(level) [" + String(repeating: "*a\(level - 1), ", count: 8) + "*a\(level - 1)]\n"
        }
        #expect(throws: HostError.self) { try load(text + "images: *a40\nenv: *a40\nmessage: *a40\n") }
    }

    @Test(arguments: ["root", "Ünï", "", "0day", "with space", String(repeating: "a", count: 40)])
    func aHostNameThatNoGuestCanHaveBecomesLima(_ name: String) throws {
        let host = HostFacts(architecture: .x86_64, userName: name, uid: 0, home: "/root")
        let user = try resolve(Self.image, host: host).configuration.user
        #expect(user.name == "lima" && user.uid == 1000 && user.home == "/home/lima.guest")
    }

    /// The templates of guests that are built on this host.
    @Test(arguments: ["mini", "debian-local"])
    func localTemplatesAreValid(_ name: String) throws {
        let text = try #require(InstanceTemplate.text(name, environment: ["HOME": "/home/a"]))
        let loaded = try resolve(text, host: .current)
        #expect(loaded.warnings == [])
        #expect(loaded.configuration.images[0].disk.location.description.hasPrefix("/home/a/.local/share/hostagent/"))
    }
}

@Suite struct SettingsTests {
    @Test func reads() throws {
        let settings = try Settings.load("stopGrace: 2m\nkeepAlive: always\naccelerator: tcg\n", file: "s").settings
        #expect(settings.stopGrace == 120 && settings.keepAlive == .always && settings.accelerator == .tcg)
    }

    @Test(arguments: ["stopGrace: 0s", "stopGrace: soon", "keepAlive: maybe", "grace: 1s", "accelerator: warp"])
    func refuses(_ text: String) {
        #expect(throws: HostError.self) { try Settings.load(text, file: "s") }
    }
}
