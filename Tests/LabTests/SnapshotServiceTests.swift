import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Snapshots of instances that a manager runs, and of another account's instances.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct SnapshotServiceTests {
    /// Root asks for snapshots in a directory of an account. A process of that account takes them.
    @Test func snapshotsOfAnotherAccount() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            let root = "LIMA_HOME=\(Lab.home) \(Lab.hostagent)"
            for state in ["stopped", "running"] {
                if state == "running" { try await lab.tester("hostagent start default") }
                for verb in ["create", "apply"] {
                    let result = try await lab.root("\(root) snapshot \(verb) default --tag \(state)")
                    #expect(result.succeeded, "\(verb) \(state): \(result)")
                }
                let list = try await lab.root("\(root) snapshot list default")
                #expect(list.output.contains(state), "\(list)")
            }
            #expect(try await lab.root("find \(Lab.home) -user root").output == "")
            #expect(try await lab.root("ps -o user= -C hostagent | sort -u").output == "tester\n")
            for state in ["stopped", "running"] {
                let result = try await lab.root("\(root) snapshot delete default --tag \(state)")
                #expect(result.succeeded, "\(result)")
            }
            try await lab.tester("hostagent stop default")
        }
    }

    /// A stop waits for a snapshot. The manager waits longer than its unit says, because the agent asks it to
    /// (sd_notify(3), EXTEND_TIMEOUT_USEC), and the guest is shut down in the end.
    @Test func aStopThatWaitsForASnapshot() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default")
            try await lab.write("\(Lab.home)/default/hostagent.yaml", "stopGrace: 5s\n", owner: "tester")
            try await lab.tester("hostagent autostart enable default && hostagent start default")
            let unit = "lima-vm@default.service"
            let limit = try await lab.tester(
                "systemctl --user cat \(unit) | sed -n 's/^TimeoutStopSec=\\([0-9]*\\)s*$/\\1/p'")
            let seconds = try #require(Int(limit.trimmed), "\(limit)")
            // The machine stands still in the middle of its work.
            try await lab.tester(
                """
                (hostagent snapshot create default --tag t > ~/said 2>&1; echo $? >> ~/said) < /dev/null > /dev/null &
                n=0; until [ -e ~/.lima/default/snapshot-change.json ] || [ $n -gt 100000 ]; do n=$((n+1)); done
                kill -STOP $(cat ~/.lima/default/qemu.pid)
                [ -e ~/.lima/default/snapshot-change.json ]
                systemctl --user stop --no-block \(unit)
                """)
            try await Task.sleep(for: .seconds(seconds + 10))
            #expect(
                try await lab.user("tester", "systemctl --user show -P ActiveState \(unit)").output == "deactivating\n")
            try await lab.tester("kill -CONT $(cat ~/.lima/default/qemu.pid)")
            let ended = try await eventually(within: 120) {
                try await lab.user("tester", "systemctl --user show -P ActiveState \(unit)").output == "inactive\n"
            }
            #expect(ended)
            #expect(
                try await lab.tester("systemctl --user show -P Result \(unit); tail -n 1 ~/said")
                    == "success\n0\n")
            #expect(try await lab.tester("hostagent snapshot list default").contains("t"))
            let end = try await lab.lastEvents("default").last
            guard case .exiting(let exiting)? = end?.event else {
                Issue.record("\(String(describing: end))")
                return
            }
            #expect(exiting.exitStatus == HostExitStatus.stoppedOnRequest.rawValue, "\(exiting)")
        }
    }
}
