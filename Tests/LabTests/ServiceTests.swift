import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import ServiceManagers
import Testing

/// The agent under a real systemd: as a user unit, as a system unit, and started by hand in the same machine.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct ServiceTests {
    private func unit(_ instance: String, _ scope: ManagerScope) throws -> SystemdUnit {
        SystemdUnit(
            Registration(
                instance: try InstanceName(instance), condition: scope == .user ? .login : .boot,
                account: Account(name: "tester", uid: 1000, home: "/home/tester"), binary: Lab.binary,
                limaHome: Lab.home, searchPath: nil,
                keepAlive: .onFailure, stopGrace: 20))
    }

    /// The complete life of a unit: activating until the guest is ready, active afterwards, and a clean stop.
    private func exercise(
        _ lab: borrowing Lab, _ instance: String, unit: SystemdUnit, systemctl: String, as account: String
    ) async throws {
        let name = instance
        let show = Lab.show(["ActiveState", "SubState"], unit.name, systemctl)
        // The unit is activating until the guest is ready. The script asks while the start is under way.
        let started = try await lab.user(
            account,
            """
            \(systemctl) start \(unit.name) &
            sleep 1; \(systemctl) show -P ActiveState \(unit.name); \(systemctl) show -P StatusText \(unit.name)
            wait $!; echo "start $?"
            \(systemctl) show -P ActiveState \(unit.name); \(systemctl) show -P StatusText \(unit.name)
            """)
        let lines = started.output.split(separator: "\n").map(String.init)
        #expect(lines.first == "activating", "\(started)")
        #expect(lines.dropFirst().first?.contains(", ") == true, "STATUS= follows the phases: \(lines)")
        #expect(lines.suffix(3) == ["start 0", "active", "running"], "\(started)")

        let info = try await lab.info(name)
        #expect(info["autoStartedIdentifier"] as? String == unit.name)
        let manager = info["manager"] as? [String: Any]
        #expect(manager?["kind"] as? String == "systemd")
        #expect(manager?["scope"] as? String == unit.scope.rawValue)
        #expect(manager?["unit"] as? String == unit.name)
        #expect(info["enclosingUnit"] == nil)
        let main = try await lab.user(account, "\(systemctl) show -P MainPID \(unit.name)").output.trimmed
        #expect(main == (info["agentPID"] as? Int).map(String.init))
        // The guest is in the unit's control group, but only the agent would be signalled.
        let cgroup = try await lab.root("cat /proc/\(info["guestPID"] as? Int ?? 0)/cgroup").output
        #expect(cgroup.contains(unit.name), "\(cgroup)")

        let write = try await lab.user("tester", "\(Lab.hostagent) shell \(name) sh -c 'echo kept > /data/proof'")
        #expect(write.succeeded, "\(write)")
        let stop = try await lab.user(account, "\(systemctl) stop \(unit.name); echo \"stop $?\"")
        #expect(stop.output == "stop 0\n", "\(stop)")
        #expect(try await lab.user(account, show).output.trimmed == "inactive dead")
        // systemd forgets a unit that nothing refers to, with its result. The journal keeps the result.
        let journal = try await lab.root("journalctl -b --no-pager | grep -F '\(unit.name)' | tail -n 3")
        #expect(journal.output.contains("Stopped") && !journal.output.contains("Failed"), "\(journal)")
        let events = try await lab.lastEvents(name)
        #expect(events.last?.exitStatus == 3)
        #expect(events.contains { $0.kind == "guest-ended" && $0.step == .ask }, "shut down, not cut off")
        #expect(try await lab.root("pgrep -c qemu-system").output.trimmed == "0")
    }

    @Test func aUserUnit() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default")
            let unit = try unit("default", .user)
            try await lab.write(
                "/home/tester/.config/systemd/user/\(unit.name)", unit.text, owner: "tester")
            #expect(try await lab.root("chown -R tester /home/tester/.config").succeeded)
            #expect(try await lab.user("tester", "systemctl --user daemon-reload").succeeded)
            try await exercise(lab, "default", unit: unit, systemctl: "systemctl --user", as: "tester")

            // The write before the stop is still there after a reboot of the host.
            #expect(try await lab.user("tester", "systemctl --user enable \(unit.name)").succeeded)
            try await lab.reboot()
            let up = try await lab.user(
                "tester",
                "n=0; until systemctl --user is-active -q \(unit.name) || [ $n -gt 300 ]; do sleep 0.1; n=$((n+1)); done;"
                    + "\(Lab.hostagent) shell default cat /data/proof")
            #expect(up.output == "kept\n", "\(up)")

            // A stop over the socket goes through the manager: the unit is inactive, not failed, and not restarted.
            let stop = try await lab.user(
                "tester",
                "\(Lab.hostagent) stop default; " + Lab.show(["ActiveState", "Result"], unit.name, "systemctl --user"))
            #expect(stop.output.hasSuffix("inactive success\n"), "\(stop)")

            // An agent started by hand in the same machine has no identifier, and the enclosing unit is named.
            #expect(try await lab.user("tester", "\(Lab.hostagent) autostart disable default").succeeded)
            let byHand = try await lab.user("tester", "\(Lab.hostagent) start default")
            #expect(byHand.succeeded, "\(byHand)")
            let info = try await lab.info("default")
            #expect(info["autoStartedIdentifier"] == nil)
            #expect((info["manager"] as? [String: Any])?["kind"] as? String == "none")
            #expect(try await lab.user("tester", "\(Lab.hostagent) stop default").succeeded)
            let inScope = try await lab.user(
                "tester",
                "XDG_DATA_HOME=/opt/guests systemd-run --user --scope --unit=byhand \(Lab.binary) start default")
            #expect(inScope.succeeded, "\(inScope)")
            let scoped = try await lab.info("default")
            #expect(scoped["autoStartedIdentifier"] == nil)
            #expect(scoped["enclosingUnit"] as? String == "byhand.scope")
            #expect(try await lab.user("tester", "\(Lab.hostagent) stop default").succeeded)
        }
    }

    @Test func aSystemUnit() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "my-vm.2_x")
            let unit = try unit("my-vm.2_x", .system)
            try await lab.write("/run/unit", unit.text)
            #expect(
                try await lab.root("mv /run/unit '/etc/systemd/system/\(unit.name)'; systemctl daemon-reload").succeeded
            )
            // The manager's own limits are far too short. EXTEND_TIMEOUT_USEC= tells it that there is progress.
            try await lab.write(
                "/etc/systemd/system/\(unit.name).d/short.conf", "[Service]\nTimeoutStartSec=1\nTimeoutStopSec=1\n")
            #expect(try await lab.root("systemctl daemon-reload").succeeded)
            try await exercise(lab, "my-vm.2_x", unit: unit, systemctl: "systemctl", as: "root")

            // An account that may not stop a system unit asks the agent, and systemd treats the end as a stop.
            #expect(try await lab.root("systemctl start \(unit.name)").succeeded)
            let stop = try await lab.user("tester", "\(Lab.hostagent) stop my-vm.2_x")
            #expect(stop.succeeded, "\(stop)")
            let show = Lab.show(["ActiveState", "Result", "NRestarts"], unit.name, "systemctl")
            let settled = try await eventually(within: 20) {
                try await lab.root(show).output == "inactive success 0\n"
            }
            let journal = settled ? "" : try await lab.root(show + "; journalctl -n 40 -u \(unit.name)").output
            #expect(settled, "\(journal)")

            // A failed start ends with the agent's own status, not with the manager's SIGTERM. It is not tried again
            // where that would not help.
            try await lab.write("\(Lab.home)/my-vm.2_x/hostagent.yaml", "nonsense: 1\n", owner: "tester")
            let failed = try await lab.root(
                "systemctl start \(unit.name); "
                    + Lab.show(["Result", "ExecMainStatus", "NRestarts"], unit.name, "systemctl"))
            #expect(failed.output == "exit-code 65 0\n", "\(failed)")
        }
    }

    /// The watchdog kills a hung agent, and its guest is not affected. A healthy agent feeds the watchdog as long as
    /// its guest answers.
    @Test func theWatchdog() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default")
            let unit = try unit("default", .system)
            // This is two beats of the agent's heart. The unit's own 90 s would make this test long.
            let text = try unit.text.replacing("WatchdogSec=90s", with: "WatchdogSec=25s").replacing(
                "Restart=on-failure", with: "Restart=no")
            #expect(try text != unit.text)
            try await lab.write("/etc/systemd/system/\(unit.name)", text)
            let started = try await lab.root("systemctl daemon-reload; systemctl start \(unit.name)")
            #expect(started.succeeded, "\(started)")
            let info = try await lab.info("default")
            let guest = try #require(info["guestPID"] as? Int)
            let agent = try #require(info["agentPID"] as? Int)
            // This is longer than the watchdog waits. The only sign that the agent feeds it is that nothing happens.
            let fed = try await lab.root("sleep 40; systemctl is-active \(unit.name)")
            #expect(fed.output == "active\n")
            #expect(try await lab.root("kill -STOP \(agent)").succeeded)
            let shot = try await eventually(within: 90) {
                try await lab.root(Lab.show(["ActiveState", "Result"], unit.name, "systemctl")).output
                    == "failed watchdog\n"
            }
            #expect(shot)
            #expect(try await lab.root("kill -0 \(guest)").succeeded, "the guest lives on")
            #expect(try await lab.user("tester", "\(Lab.hostagent) list").output.contains("Orphaned"))
            #expect(try await lab.user("tester", "\(Lab.hostagent) stop default").succeeded)
        }
    }
}
