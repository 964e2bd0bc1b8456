import HostModel
import HostTestSupport
import InstanceStore
import Testing

/// Mutations of the corpus: whatever a file holds, it is read or refused with a message.
@Suite struct YAMLFuzzTests {
    @Test func files() throws {
        let host = LimaYAML.Host(architecture: .x86_64, userName: "ada", uid: 1000, home: "/home/ada")
        try Fuzz.round("yaml", seed: 7, count: 4000) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            do throws(HostError) {
                _ = try LimaYAML.load(text, file: "f", host: host)
            } catch {
                #expect(error.code == .badConfiguration && !error.message.isEmpty)
            }
            _ = LimaYAML.digests(of: text)
            _ = try? Settings.load(text, file: "f")
            _ = try? LimaYAML.setting("cpus", to: "1", in: text)
            _ = try? LimaYAML.setting("ssh.localPort", to: "1", in: text)
        }
    }
}
