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

    @Test func missingOnesAreAdded() throws {
        #expect(try set("disk", "8GiB") == Self.text + "disk: 8GiB\n")
        #expect(try set("firmware.legacyBIOS", "true") == Self.text + "firmware: {legacyBIOS: true}\n")
    }

    @Test(arguments: [
        ("", "1"), ("a..b", "1"), ("cpus", "1\n2"), ("ssh", "1"), ("ssh.x", "1"), ("a b", "1"), ("cpus", "# hi"),
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
