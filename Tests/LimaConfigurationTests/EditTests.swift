import HostModel
import InstanceStore
import LimaConfiguration
import Testing

@Suite struct EditTests {
    private static let text = "# mine\ncpus: 2   # two\nmemory: 256MiB\nssh:\n  localPort: 0\n"

    private func set(_ key: String, _ value: String) throws -> String {
        try LimaYAML.setting(key, to: value, in: Self.text)
    }

    @Test func valuesAreReplacedInPlace() throws {
        #expect(try set("cpus", "4") == Self.text.replacing("cpus: 2 ", with: "cpus: 4 "))
        #expect(try set("ssh.localPort", "60022") == Self.text.replacing("localPort: 0", with: "localPort: 60022"))
    }

    @Test(arguments: [
        (#"a: "say \"hi\"" # c"#, #"a: new # c"#), ("a: 'it''s' # c", "a: new # c"), (#"a: "\\" # c"#, "a: new # c"),
        ("{a: \"x\", b: 1}", "{a: new, b: 1}"),
    ])
    func quotedValuesAreReplaced(_ text: String, _ expected: String) throws {
        #expect(try LimaYAML.setting("a", to: "new", in: text) == expected)
        #expect(try LimaYAML.setting("a", to: #""x # y""#, in: text) == expected.replacing("new", with: #""x # y""#))
    }

    @Test func missingOnesAreAdded() throws {
        #expect(try set("disk", "8GiB") == Self.text + "disk: 8GiB\n")
        #expect(try set("firmware.legacyBIOS", "true") == Self.text + "firmware: {legacyBIOS: true}\n")
    }

    @Test(arguments: [
        ("ssh:\n  # port\n  localPort: 0\n", "ssh:\n  # port\n  forwardAgent: true\n  localPort: 0\n"),
        ("ssh: {localPort: 0} # x\n", "ssh: {forwardAgent: true, localPort: 0} # x\n"),
        ("ssh: {}\n", "ssh: {forwardAgent: true}\n"), ("ssh:\ncpus: 1\n", "ssh: {forwardAgent: true}\ncpus: 1\n"),
        ("ssh: null\n", "ssh: {forwardAgent: true}\n"),
        ("cpus: 1\n", "cpus: 1\nssh: {forwardAgent: true}\n"),
    ])
    func entriesAreAddedToMappings(_ text: String, _ expected: String) throws {
        #expect(try LimaYAML.setting("ssh.forwardAgent", to: "true", in: text) == expected)
    }

    @Test func mappingsInMappings() throws {
        let text = "vmOpts:\n  qemu:\n    minimumVersion: 7.0\n"
        #expect(
            try LimaYAML.setting("vmOpts.qemu.cpuType.x86_64", to: "host", in: text)
                == "vmOpts:\n  qemu:\n    cpuType: {x86_64: host}\n    minimumVersion: 7.0\n")
    }

    @Test(arguments: [
        ("", "1"), ("a..b", "1"), ("cpus", "1\n2"), ("ssh", "1"), ("cpus.x", "1"), ("a b", "1"), ("cpus", "# hi"),
        ("cpus", "2 # two"),
    ])
    func whatCannotBeDoneLineByLineIsRefused(_ key: String, _ value: String) {
        #expect(throws: HostError.self) { try set(key, value) }
    }

    @Test func linesOfOtherSystemsAndFoldedValues() throws {
        #expect(try LimaYAML.setting("cpus", to: "4", in: "a: 1\r\ncpus: 2\r\n") == "a: 1\r\ncpus: 4\r\n")
        #expect(try LimaYAML.setting("cpus", to: "4", in: "cpus:\nmemory: 1GiB\n") == "cpus: 4\nmemory: 1GiB\n")
        #expect(
            try LimaYAML.setting("ssh.localPort", to: "4", in: "ssh:\n  localPort:\n") == "ssh:\n  localPort: 4\n")
        let decomposed = "user: {comment: e\u{301}e, uid: 7}\n"
        #expect(try LimaYAML.setting("user.uid", to: "8", in: decomposed) == decomposed.replacing("7", with: "8"))
        #expect(throws: HostError.self) {
            try LimaYAML.setting("message", to: "x", in: "message: one\n  two three four\n")
        }
    }

    @Test func aSettingOfTheOtherFile() {
        #expect(Settings.setting("keepAlive", to: "always", in: "") == "keepAlive: always\n")
        #expect(
            Settings.setting("keepAlive", to: "no", in: "# x\nkeepAlive: always\nstopGrace: 5s\n")
                == "# x\nkeepAlive: no\nstopGrace: 5s\n")
        // A carriage return and a line feed are one character in Swift.
        let windows = "keepAlive: no\r\nstopGrace: 30s\r\nafter: [b]\r\n"
        let changed = Settings.setting("keepAlive", to: "always", in: windows)
        #expect(
            changed.contains("stopGrace: 30s") && changed.contains("after: [b]") && !changed.contains("keepAlive: no"))
    }
}

@Suite struct RestartHistoryTests {
    @Test func theWaitGrowsAndEnds() {
        var history = RestartHistory()
        var waits: [RestartHistory.Verdict] = []
        for _ in 0..<6 {
            waits.append(history.verdict(at: 100))
            history.add(failureAt: 100, reason: "r")
        }
        #expect(waits == [0, 0, 2, 4, 8, 16].map { .launch(after: $0) })
        #expect(history.verdict(at: 100) == .giveUp)
        #expect(history.verdict(at: 100 + RestartHistory.window) == .launch(after: 0), "old failures do not count")
        #expect(history.verdict(at: 50) == .launch(after: 0), "nor do those of a clock that was wrong")
    }
}

@Suite struct ListEditTests {
    private static let two = ["{location: /a}", "{location: \"/b\", writable: true}"]

    @Test(arguments: [
        ("cpus: 1\n", "cpus: 1\nmounts:\n- X\n"), ("mounts: []\ncpus: 1\n", "mounts:\n- X\ncpus: 1\n"),
        ("mounts: # none\ncpus: 1\n", "mounts:\n- X\ncpus: 1\n"),
        (
            "mounts:\n- location: /c # mine\n  writable: true\n\n# of cpus\ncpus: 1\n",
            "mounts:\n- location: /c # mine\n  writable: true\n- X\n\n# of cpus\ncpus: 1\n"
        ),
        ("mounts:\n  - {location: /c}\n", "mounts:\n  - {location: /c}\n  - X\n"),
        ("mounts: [{location: /c}]\ncpus: 1\n", "mounts: [{location: /c}, X]\ncpus: 1\n"),
    ])
    func elementsAreAdded(_ text: String, _ expected: String) throws {
        let element = "{location: /x}"
        #expect(
            try LimaYAML.adding([element], to: "mounts", in: text) == expected.replacing("X", with: element))
    }

    @Test func aListIsReplaced() throws {
        let text = "mounts:\n- location: /c\n- location: /d\n# of cpus\ncpus: 1\n"
        #expect(
            try LimaYAML.adding(Self.two, to: "mounts", replacing: true, in: text)
                == "mounts:\n- {location: /a}\n- {location: \"/b\", writable: true}\n# of cpus\ncpus: 1\n")
        #expect(try LimaYAML.adding([], to: "mounts", replacing: true, in: text) == "mounts: []\n# of cpus\ncpus: 1\n")
    }

    @Test(arguments: [
        "{mounts: [{location: /c}], cpus: 1}", "mounts: [{location: /c}] # all\n",
    ])
    func whatCannotBeDoneSafelyIsRefused(_ text: String) {
        #expect(throws: HostError.self) { try LimaYAML.adding(Self.two, to: "mounts", in: text) }
    }

    @Test func imagesOfAVariant() throws {
        let text = ConfigurationText(
            "images:\n- {location: /a, variant: minimal}\n- {location: /b}\n- {location: /c, variant: minimal}\n",
            file: "t")
        let kept = try LimaYAML.keepingImages(whose: "variant", is: "minimal", in: text)
        #expect(try resolve(kept.text).configuration.images.map(\.disk.location.description) == ["/a", "/c"])
        let error = #expect(throws: HostError.self) {
            try LimaYAML.keepingImages(whose: "variant", is: "server", in: text)
        }
        #expect(error?.hint?.contains("minimal") == true)
    }
}
