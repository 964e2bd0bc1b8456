import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// The keep-alive table of the design, row by row, under a real user manager.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct KeepAliveTests {
    private static let unit = "lima-vm@my-vm.2_x.service"

    private func info(_ lab: borrowing Lab) async throws -> AgentInfo? {
        let text = try await lab.user("tester", "\(Lab.hostagent) info my-vm.2_x").output
        return try? JSONDecoder().decode(AgentInfo.self, from: Data(text.utf8))
    }

    private func state(_ lab: borrowing Lab) async throws -> String {
        try await lab.user("tester", Lab.show(["ActiveState", "Result"], Self.unit, "systemctl --user")).output.trimmed
    }

    /// Waits until the instance runs and differs from before.
    private func isBack(_ lab: borrowing Lab, _ differs: (AgentInfo) -> Bool) async throws -> Bool {
        try await eventually(within: 60) {
            guard let now = try await info(lab) else { return false }
            return now.state == .running && differs(now)
        }
    }

    private func begin(_ lab: borrowing Lab, _ policy: String) async throws -> AgentInfo {
        try await lab.tester("hostagent autostart enable my-vm.2_x --keep-alive=\(policy)")
        try await lab.tester("hostagent start my-vm.2_x")
        return try #require(try await info(lab))
    }

    @Test(arguments: ["on-failure", "always", "no"], Lab.System.allCases)
    func aRow(_ policy: String, _ system: Lab.System) async throws {
        let isKept = policy != "no"
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: "my-vm.2_x")
            let first = try await begin(lab, policy)
            let guest = try #require(first.guestPID)

            // The agent dies.
            #expect(try await lab.root("kill -9 \(first.agentPID)").succeeded)
            if isKept {
                #expect(try await isBack(lab) { $0.run != first.run && $0.guestPID == guest }, "attached")
                #expect(try await lab.lastEvents("my-vm.2_x").first?.kind == "attached")
            } else {
                let down = try await eventually(within: 10) { try await state(lab) == "failed signal" }
                #expect(down)
                #expect(try await lab.tester("hostagent list").contains("Orphaned"))
                try await lab.tester("hostagent start my-vm.2_x")
                #expect(try await info(lab)?.guestPID == guest, "a start attaches")
            }

            // The guest dies.
            #expect(try await lab.root("kill -9 \(guest)").succeeded)
            if isKept {
                #expect(try await isBack(lab) { $0.guestPID != guest }, "started again")
            } else {
                let failed = try await eventually(within: 10) { try await state(lab) == "failed exit-code" }
                #expect(failed)
                try await lab.tester("hostagent start my-vm.2_x")
            }

            // The guest powers itself off.
            let before = try #require(try await info(lab))
            _ = try await lab.user("tester", "\(Lab.hostagent) shell my-vm.2_x sudo poweroff")
            if policy == "always" {
                #expect(try await isBack(lab) { $0.run != before.run }, "started again")
            } else {
                let off = try await eventually(within: 30) { try await state(lab) == "inactive success" }
                #expect(off)
                try await lab.tester("hostagent start my-vm.2_x")
            }

            // After a stop on request, it stays stopped under every policy.
            try await lab.tester("hostagent stop my-vm.2_x")
            #expect(try await state(lab) == "inactive success")
            try await lab.tester("systemctl --user start \(Self.unit); systemctl --user stop \(Self.unit)")
            #expect(try await state(lab) == "inactive success")

            // A bad configuration fails at once and is not tried again.
            try await lab.tester(
                "cp ~/.lima/my-vm.2_x/lima.yaml ~/kept; echo 'nonsense: 1' >> ~/.lima/my-vm.2_x/lima.yaml")
            let started = try await lab.user("tester", "systemctl --user start \(Self.unit)")
            #expect(!started.succeeded)
            #expect(try await state(lab) == "failed exit-code")
            let restarts = try await lab.tester("systemctl --user show -P NRestarts \(Self.unit)")
            #expect(restarts == "0\n")
            try await lab.tester("cp ~/kept ~/.lima/my-vm.2_x/lima.yaml")
        }
    }

    @Test(arguments: Lab.System.allCases) func whatDiesAgainAndAgainIsGivenUpWithTheReason(_ system: Lab.System)
        async throws
    {
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: "my-vm.2_x")
            _ = try await begin(lab, "on-failure")
            // Every guest is killed as soon as it exists.
            let killed = try await lab.root(
                "n=0; until [ \"$(su tester -c 'XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user show -P ActiveState "
                    + "\(Self.unit)')\" = failed ] || [ $n -gt 400 ]; do pkill -9 qemu-system; sleep 0.3; n=$((n+1)); done; echo $n"
            )
            #expect(try await state(lab) == "failed exit-code", "\(killed)")
            let status = try await lab.tester("systemctl --user show -P ExecMainStatus \(Self.unit)")
            #expect(status == "70\n")
            let shown = try await lab.tester("hostagent autostart status")
            #expect(
                shown.contains("gave up: it failed 6 times within 10 minutes, the last time: "),
                "\(shown)")
            let log = try await lab.user("tester", "journalctl --user -u \(Self.unit) -o cat --no-pager").output
            for wait in [2, 4, 8, 16] { #expect(log.contains("the next try is in \(wait) s"), "\(wait)") }
            // A start by hand begins to count anew.
            try await lab.tester("hostagent start my-vm.2_x")
            try await lab.tester("hostagent stop my-vm.2_x")
        }
    }

    /// A guest whose agent dies during the stop is not left behind, and it is still asked to shut down.
    @Test(arguments: Lab.System.allCases) func theReaper(_ system: Lab.System) async throws {
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: "my-vm.2_x")
            let running = try await begin(lab, "no")
            try await lab.startCounting("my-vm.2_x")
            // The agent dies while its unit is being stopped. The unit's own job tells the reaper that this is not a
            // crash.
            let stopped = try await lab.user(
                "tester",
                "systemctl --user stop \(Self.unit) & sleep 0.3; kill -9 \(running.agentPID); wait")
            #expect(stopped.succeeded, "\(stopped)")
            #expect(try await lab.root("pgrep -c qemu-system").output == "0\n")
            try await lab.tester("systemctl --user reset-failed; hostagent start my-vm.2_x")
            try await lab.expectNothingLost("my-vm.2_x", after: "a stop in which the agent died")
        }
    }
}
