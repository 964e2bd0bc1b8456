import AgentAPI
import Foundation
import HostOS
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
            let owner = try await lab.root("ps -C passt,passt.avx2 -o user= | sort -u").output
            #expect(owner == "tester\n")
            let first = try await lab.root("pgrep -f ^/usr/bin/passt").output

            #expect(try await lab.root("pkill -KILL -f ^/usr/bin/passt").succeeded)
            let isReplaced = try await eventually(within: 30) {
                let now = try await lab.root("pgrep -f ^/usr/bin/passt").output
                let state = try await lab.info("default")["state"] as? String
                return !now.isEmpty && now != first && state == "Running"
            }
            #expect(isReplaced)
            let failures = try await lab.lastEvents("default").filter { $0.kind == "failure" }.compactMap(\.message)
            // One that a connection meets before its machine does may crash, and be replaced, too.
            #expect(failures.first == "the guest has no network, because passt has ended", "\(failures)")
            #expect(
                failures.allSatisfy { $0.hasPrefix("the guest has no network") && !$0.contains("\n") }, "\(failures)")
            let reaches = try await eventually(within: 30) {
                try await lab.user("tester", "\(Lab.hostagent) shell default hostname").output == "lima-default\n"
            }
            #expect(reaches)

            // The next agent knows the other one.
            #expect(try await lab.killAgent(of: "lima-vm@default"))
            let second = try await lab.root("pgrep -f ^/usr/bin/passt").output
            #expect(try await lab.root("pkill -KILL -f ^/usr/bin/passt").succeeded)
            let isReplacedAgain = try await eventually(within: 30) {
                let now = try await lab.root("pgrep -f ^/usr/bin/passt").output
                let state = try await lab.info("default")["state"] as? String
                return !now.isEmpty && now != second && state == "Running"
            }
            let story = try await lab.lastEvents("default").map { "\($0.elapsed) \($0.kind) \($0.message ?? "")" }
            #expect(isReplacedAgain, "\(story)")
            #expect(try await lab.root("systemctl stop lima-vm@default").succeeded)
            #expect(try await lab.root("pgrep -a 'passt|qemu'").output == "")
        }
    }
}
