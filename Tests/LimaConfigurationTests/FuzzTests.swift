import HostModel
import HostTestSupport
import LimaConfiguration
import Testing

/// Mutations of the corpus: whatever a file holds, it is read or refused with a message.
@Suite struct YAMLFuzzTests {
    /// Has other types than the corpus for the same keys.
    private static let mixed = "env: 3\nprobes: {a: b}\nportForwards: [x]\nuser: [a]\nssh: {localPort: {}}\n"

    private func isReadOrRefused(_ text: String) -> Bool {
        do {
            _ = try resolve(text, override: Self.mixed, defaults: text)
            _ = try resolve(text)
            return true
        } catch let error as HostError {
            return error.code == .badConfiguration && !error.message.isEmpty
        } catch {
            return false
        }
    }

    @Test func files() throws {
        try Fuzz.round("yaml", seed: 7, count: 4000) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            #expect(isReadOrRefused(text))
            _ = try? Settings.load(text, file: "f")
            _ = try? LimaYAML.setting("cpus", to: "1", in: text)
            _ = try? LimaYAML.setting("ssh.localPort", to: "1", in: text)
        }
    }
}
