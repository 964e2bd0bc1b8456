import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import ServiceManagement
import Testing

/// The agent under a real systemd: as a user unit, as a system unit, and by hand in the same machine.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .timeLimit(.minutes(10)))
struct ServiceTests {
    private static let home = "/home/tester/.lima"
    /// Of the machine's own root: the overlay shows it under the same path.
    private static var hostagent: String { "XDG_DATA_HOME=/opt/guests \(binary)" }
    private static let binary = "/usr/local/bin/hostagent"

    /// An account with linger, the program where any account may run it, the mini guest where it may read it, and an
    /// instance of it.
    private func prepare(_ lab: borrowing Lab, instance: String) async throws {
        let result = try await lab.root(
            """
            set -e
            useradd --create-home --shell /bin/bash tester
            loginctl enable-linger tester
            install -m 755 '\(Checkout.binary)' \(Self.binary)
            mkdir -p /opt/guests/hostagent && cp -r '\(Checkout.miniGuest)' /opt/guests/hostagent/mini
            chmod -R a+rX /opt/guests
            uid=$(id -u tester); n=0
            until [ -S /run/user/$uid/bus ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done
            """)
        #expect(result.succeeded, "\(result)")
        let created = try await lab.user("tester", "\(Self.hostagent) create --name \(instance) mini")
        #expect(created.succeeded, "\(created)")
        // A small grace keeps a failing test short; the guest needs a fifth of a second.
        try await lab.write("\(Self.home)/\(instance)/hostagent.yaml", "stopGrace: 20s\n", owner: "tester")
    }

    private func unit(_ instance: String, _ scope: ManagerScope) throws -> SystemdUnit {
        SystemdUnit(
            instance: try InstanceName(instance), scope: scope, binary: Self.binary, limaHome: Self.home,
            account: "tester", stopGrace: 20)
    }

    private func info(_ lab: borrowing Lab, _ instance: String) async throws -> [String: Any] {
        let result = try await lab.user("tester", "\(Self.hostagent) info \(instance)")
        return try #require(
            try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any], "\(result)")
    }

    private func lastEvents(_ lab: borrowing Lab, _ instance: String) async throws -> [EventRecord] {
        try await lab.user("tester", "\(Self.hostagent) events \(instance)").output.split(separator: "\n")
            .compactMap { EventRecord(line: $0.utf8) }
    }

    /// A script that prints a unit's properties on one line, in this order: `show` has an order of its own.
    private static func show(_ properties: [String], _ unit: SystemdUnit, _ systemctl: String) -> String {
        "for p in \(properties.joined(separator: " ")); do \(systemctl) show -P $p '\(unit.name)'; done | xargs"
    }

    /// The whole way of a unit: activating until the guest is ready, active after, and a clean stop.
    private func exercise(
        _ lab: borrowing Lab, unit: SystemdUnit, systemctl: String, as account: String
    ) async throws {
        let name = unit.instance.text
        let show = Self.show(["ActiveState", "SubState"], unit, systemctl)
        // Activating until the guest is ready: asked while the start is under way.
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

        let info = try await info(lab, name)
        #expect(info["autoStartedIdentifier"] as? String == unit.name)
        let manager = info["manager"] as? [String: Any]
        #expect(manager?["kind"] as? String == "systemd")
        #expect(manager?["scope"] as? String == unit.scope.rawValue)
        #expect(manager?["unit"] as? String == unit.name)
        #expect(info["enclosingUnit"] == nil)
        let main = try await lab.user(account, "\(systemctl) show -P MainPID \(unit.name)").output.trimmed
        #expect(main == (info["agentPID"] as? Int).map(String.init))
        // The guest counts in the unit, and the agent alone would be signalled.
        let cgroup = try await lab.root("cat /proc/\(info["guestPID"] as? Int ?? 0)/cgroup").output
        #expect(cgroup.contains(unit.name), "\(cgroup)")

        let write = try await lab.user("tester", "\(Self.hostagent) shell \(name) sh -c 'echo kept > /data/proof'")
        #expect(write.succeeded, "\(write)")
        let stop = try await lab.user(account, "\(systemctl) stop \(unit.name); echo \"stop $?\"")
        #expect(stop.output == "stop 0\n", "\(stop)")
        #expect(try await lab.user(account, show).output.trimmed == "inactive dead")
        // A unit that nothing refers to is forgotten with its result; the journal keeps it.
        let journal = try await lab.root("journalctl -b --no-pager | grep -F '\(unit.name)' | tail -n 3")
        #expect(journal.output.contains("Stopped") && !journal.output.contains("Failed"), "\(journal)")
        let events = try await lastEvents(lab, name)
        #expect(events.last?.payload?.exitStatus == 3)
        #expect(events.contains { $0.kind == "guest-ended" && $0.payload?.step == .ask }, "shut down, not cut off")
        #expect(try await lab.root("pgrep -c qemu-system").output.trimmed == "0")
    }

    @Test func aUserUnit() async throws {
        try await Lab.with { lab in
            try await prepare(lab, instance: "default")
            let unit = try unit("default", .user)
            try await lab.write(
                "/home/tester/.config/systemd/user/\(unit.name)", unit.text, owner: "tester")
            #expect(try await lab.root("chown -R tester /home/tester/.config").succeeded)
            #expect(try await lab.user("tester", "systemctl --user daemon-reload").succeeded)
            try await exercise(lab, unit: unit, systemctl: "systemctl --user", as: "tester")

            // The write before the stop is there after a reboot of the host.
            #expect(try await lab.user("tester", "systemctl --user enable \(unit.name)").succeeded)
            try await lab.reboot()
            let up = try await lab.user(
                "tester",
                "n=0; until systemctl --user is-active -q \(unit.name) || [ $n -gt 300 ]; do sleep 0.1; n=$((n+1)); done;"
                    + "\(Self.hostagent) shell default cat /data/proof")
            #expect(up.output == "kept\n", "\(up)")

            // A stop over the socket goes through the manager: inactive, not failed, not restarted.
            let stop = try await lab.user(
                "tester",
                "\(Self.hostagent) stop default; " + Self.show(["ActiveState", "Result"], unit, "systemctl --user"))
            #expect(stop.output.hasSuffix("inactive success\n"), "\(stop)")

            // By hand in the same machine: no identifier, and the enclosing unit is named.
            let byHand = try await lab.user("tester", "\(Self.hostagent) start default")
            #expect(byHand.succeeded, "\(byHand)")
            let info = try await info(lab, "default")
            #expect(info["autoStartedIdentifier"] == nil)
            #expect((info["manager"] as? [String: Any])?["kind"] as? String == "none")
            #expect(try await lab.user("tester", "\(Self.hostagent) stop default").succeeded)
            let inScope = try await lab.user(
                "tester",
                "XDG_DATA_HOME=/opt/guests systemd-run --user --scope --unit=byhand \(Self.binary) start default")
            #expect(inScope.succeeded, "\(inScope)")
            let scoped = try await self.info(lab, "default")
            #expect(scoped["autoStartedIdentifier"] == nil)
            #expect(scoped["enclosingUnit"] as? String == "byhand.scope")
            #expect(try await lab.user("tester", "\(Self.hostagent) stop default").succeeded)
        }
    }

    @Test func aSystemUnit() async throws {
        try await Lab.with { lab in
            try await prepare(lab, instance: "my-vm.2_x")
            let unit = try unit("my-vm.2_x", .system)
            try await lab.write("/run/unit", unit.text)
            #expect(
                try await lab.root("mv /run/unit '/etc/systemd/system/\(unit.name)'; systemctl daemon-reload").succeeded
            )
            try await exercise(lab, unit: unit, systemctl: "systemctl", as: "root")

            // An account without the right to stop a system unit asks the agent, and systemd takes it for a stop.
            #expect(try await lab.root("systemctl start \(unit.name)").succeeded)
            let stop = try await lab.user("tester", "\(Self.hostagent) stop my-vm.2_x")
            #expect(stop.succeeded, "\(stop)")
            let settled = try await eventually(within: 20) {
                try await lab.root(Self.show(["ActiveState", "Result", "NRestarts"], unit, "systemctl")).output
                    == "inactive success 0\n"
            }
            #expect(settled)

            // A start that fails ends with the agent's own status, not with the manager's SIGTERM, and is not tried
            // again where that is of no use.
            try await lab.write("\(Self.home)/my-vm.2_x/hostagent.yaml", "nonsense: 1\n", owner: "tester")
            let failed = try await lab.root(
                "systemctl start \(unit.name); "
                    + Self.show(["Result", "ExecMainStatus", "NRestarts"], unit, "systemctl"))
            #expect(failed.output == "exit-code 65 0\n", "\(failed)")
        }
    }
}
