import Foundation
import HostTestSupport
import Testing

/// passt in the sandbox of a unit, with a QEMU that connects again.
@Suite(.enabled(if: Checkout.canBootLabs), .guestSlot)
struct NetworkTests {
    @Test func passtIsReplaced() async throws {
        try await Lab.with(.debian13) { lab in
            try await lab.prepare(instance: "default", linger: false)
            try await lab.tester("echo 'network: passt' >> ~/.lima/default/hostagent.yaml")
            let enabled = try await lab.root(
                "LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart enable default --condition=boot --user tester")
            #expect(enabled.succeeded, "\(enabled)")
            let started = try await lab.root("systemctl start lima-vm@default")
            #expect(started.succeeded, "\(started)")
            let owner = try await lab.root("ps -C passt -o user= | sort -u").output
            #expect(owner == "tester\n")
            let first = try await lab.root("pgrep -x passt").output

            #expect(try await lab.root("pkill -KILL -x passt").succeeded)
            let isReplaced = try await eventually(within: 30) {
                let now = try await lab.root("pgrep -x passt").output
                return !now.isEmpty && now != first && (try await lab.info("default")["state"] as? String) == "Running"
            }
            #expect(isReplaced)
            let failures = try await lab.lastEvents("default").filter { $0.kind == "failure" }.compactMap(\.message)
            #expect(failures.count == 1 && failures[0].contains("passt has ended"), "\(failures)")
            let reaches = try await eventually(within: 30) {
                try await lab.user("tester", "\(Lab.hostagent) shell default hostname").output == "lima-default\n"
            }
            #expect(reaches)

            // The next agent knows the other one.
            #expect(try await lab.killAgent(of: "lima-vm@default"))
            let second = try await lab.root("pgrep -x passt").output
            #expect(try await lab.root("pkill -KILL -x passt").succeeded)
            let isReplacedAgain = try await eventually(within: 30) {
                let now = try await lab.root("pgrep -x passt").output
                return !now.isEmpty && now != second && (try await lab.info("default")["state"] as? String) == "Running"
            }
            #expect(isReplacedAgain)
            #expect(try await lab.root("systemctl stop lima-vm@default").succeeded)
            #expect(try await lab.root("pgrep -a 'passt|qemu'").output == "")
        }
    }
}
