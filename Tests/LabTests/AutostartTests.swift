import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Registered instances under a real systemd. They are started at login and boot, and stopped by every path.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct AutostartTests {
    private static let name = "my-vm.2_x"
    private static let unit = "lima-vm@my-vm.2_x.service"

    /// The state of a unit, in one line.
    private func state(_ lab: borrowing Lab, user: Bool) async throws -> String {
        let properties = Lab.show(
            ["ActiveState", "Result", "NRestarts"], Self.unit, user ? "systemctl --user" : "systemctl")
        return try await lab.user("tester", properties).output.trimmed
    }

    private func isRunning(_ lab: borrowing Lab, by identifier: String?) async throws -> Bool {
        let result = try await lab.user("tester", "\(Lab.hostagent) info \(Self.name)")
        guard let info = try? JSONDecoder().decode(AgentInfo.self, from: Data(result.output.utf8)) else { return false }
        return info.state == .running && info.autoStartedIdentifier == identifier
    }

    @Test(arguments: Lab.System.allCases) func aUserUnitFromEnableToDisable(_ system: Lab.System) async throws {
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: Self.name)
            #expect(
                try await lab.tester("hostagent autostart enable \(Self.name)").contains("starts when tester logs in"))
            #expect(try await lab.tester("systemctl --user is-enabled \(Self.unit)") == "enabled\n")

            // The command starts the instance through the manager.
            let start = try await lab.tester("hostagent start \(Self.name)")
            #expect(start.contains("get a shell with"))
            #expect(try await isRunning(lab, by: Self.unit))

            // Whichever path stops it, a guest that writes loses nothing, and the manager and the instance report the
            // same state.
            let ways = [
                ("the command", "hostagent stop \(Self.name)"),
                ("the manager", "systemctl --user stop \(Self.unit)"),
                (
                    "the socket",
                    "curl -sf -X POST --unix-socket ~/.lima/\(Self.name)/ha.sock http://x/v1/stop && "
                        + "until [ \"$(systemctl --user show -P ActiveState \(Self.unit))\" = inactive ]; do sleep 0.1; done"
                ),
                (
                    "poweroff in the guest",
                    "hostagent shell \(Self.name) sudo poweroff; "
                        + "until [ \"$(systemctl --user show -P ActiveState \(Self.unit))\" = inactive ]; do sleep 0.1; done"
                ),
            ]
            for (what, command) in ways {
                try await lab.startCounting(Self.name)
                try await lab.tester(command)
                #expect(try await state(lab, user: true) == "inactive success 0", "\(what)")
                #expect(try await lab.root("pgrep -c qemu-system").output == "0\n", "\(what)")
                try await lab.tester("systemctl --user start \(Self.unit)")
                try await lab.expectNothingLost(Self.name, after: what)
            }

            // One restart goes through the manager, one through the command.
            for command in ["systemctl --user restart \(Self.unit)", "hostagent restart \(Self.name)"] {
                try await lab.startCounting(Self.name)
                try await lab.tester(command)
                #expect(try await isRunning(lab, by: Self.unit))
                try await lab.expectNothingLost(Self.name, after: command)
            }

            // The host reboots, and the guest runs again without a login.
            try await lab.startCounting(Self.name)
            try await lab.reboot()
            let back = try await eventually(within: 60) { try await isRunning(lab, by: Self.unit) }
            #expect(back)
            #expect(try await lab.root("systemctl is-system-running").output == "running\n")
            try await lab.expectNothingLost(Self.name, after: "a reboot of the host")

            // The manager also learns about a forced stop.
            try await lab.tester("hostagent stop --force \(Self.name)")
            #expect(try await state(lab, user: true) == "inactive success 0")

            // Quick rounds leave nothing behind.
            for _ in 0..<10 {
                try await lab.tester("hostagent autostart disable \(Self.name)")
                try await lab.tester("hostagent autostart enable --now \(Self.name)")
                try await lab.tester("hostagent stop --force \(Self.name)")
            }
            try await lab.tester("hostagent start \(Self.name)")
            try await lab.tester("hostagent autostart disable \(Self.name)")
            let left = try await lab.root(
                """
                find / -xdev \\( -name 'lima-vm@*' -o -name '*.new' \\) -not -path '/proc/*' -not -path '/sys/*' \
                    -path '/home/*' 2> /dev/null
                find /etc/systemd /run/systemd/system /run/user -name 'lima-vm@*' 2> /dev/null
                pgrep -a 'hostagent|qemu'
                """)
            #expect(left.output == "", "\(left)")
            #expect(
                try await lab.tester("systemctl --user list-units --all --plain --no-legend 'lima-vm@*'") == "")
        }
    }

    /// Without linger, the user manager starts with the first login and ends with the last logout, and the guest with
    /// it.
    @Test(arguments: Lab.System.allCases) func loginAndLogout(_ system: Lab.System) async throws {
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: Self.name, linger: false)
            let without = try await lab.user("tester", "\(Lab.hostagent) autostart enable \(Self.name)")
            #expect(without.status == 69 && without.error.contains("enable-linger"), "\(without)")
            let doctor = try await lab.user("tester", "\(Lab.hostagent) doctor")
            #expect(doctor.status == 69 && doctor.output.contains("fix: log in as tester"), "\(doctor)")

            // This is a session like one that login(1) makes.
            let login =
                "systemd-run --quiet --unit=a-login -p User=tester -p PAMName=login sleep infinity; "
                + "n=0; until [ -S /run/user/$(id -u tester)/bus ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done"
            #expect(try await lab.root(login).succeeded)
            try await lab.write("\(Lab.home)/\(Self.name)/hostagent.yaml", "stopGrace: 600s\n", owner: "tester")
            let enabled = try await lab.user("tester", "\(Lab.hostagent) autostart enable \(Self.name)")
            #expect(enabled.succeeded && enabled.error.contains("gets 90 s to shut down, not 600 s"), "\(enabled)")
            try await lab.tester("hostagent start \(Self.name)")
            try await lab.startCounting(Self.name)

            #expect(try await lab.root("systemctl stop a-login").succeeded)
            let gone = try await eventually(within: 60) {
                try await lab.root("pgrep -c 'qemu-system|hostagent'").output == "0\n"
            }
            #expect(gone)
            // The next login starts the guest again.
            #expect(try await lab.root(login.replacing("a-login", with: "next-login")).succeeded)
            let back = try await eventually(within: 60) { try await isRunning(lab, by: Self.unit) }
            #expect(back)
            try await lab.expectNothingLost(Self.name, after: "a logout")
            try await lab.tester("hostagent autostart disable \(Self.name)")

            // This registers at boot without root: the same unit, and a user manager that does not wait for a login.
            try await lab.tester("hostagent autostart enable \(Self.name) --condition=boot --linger")
            try await lab.reboot()
            let lingers = try await eventually(within: 60) { try await isRunning(lab, by: Self.unit) }
            #expect(lingers)
            #expect(try await lab.tester("hostagent autostart status").contains("boot (linger)"))
            try await lab.tester("hostagent stop \(Self.name)")
        }
    }

    @Test(arguments: Lab.System.allCases) func aBootUnitOfAnUnprivilegedAccount(_ system: Lab.System) async throws {
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: Self.name, linger: false)
            try await lab.allowSudo()
            // Unknown accounts are refused before anything is written.
            let unknown = try await lab.user(
                "tester", "\(Lab.hostagent) autostart enable \(Self.name) --condition=boot --user nobodyx")
            #expect(unknown.status == 64 && unknown.error.contains("there is no account \"nobodyx\""), "\(unknown)")
            let rootless = try await lab.root(
                "LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart enable \(Self.name) --condition=boot")
            #expect(rootless.status == 64 && rootless.error.contains("--user"), "\(rootless)")

            try await lab.tester("hostagent autostart enable \(Self.name) --condition=boot")
            #expect(try await lab.sudoCalls() == 2)
            let verified = try await lab.root("systemd-analyze verify --man=no /etc/systemd/system/\(Self.unit)")
            #expect(verified.output + verified.error == "")
            let exposure = try await lab.root("systemd-analyze security --no-pager \(Self.unit) | tail -n 1").output
            let score = exposure.split(separator: " ").compactMap { Double($0) }.first
            #expect(score.map { $0 <= 2.5 } == true, "\(exposure)")

            // The manager refuses an unprivileged start, and the error contains the command to type.
            let refused = try await lab.user("tester", "\(Lab.hostagent) start \(Self.name)")
            #expect(refused.status == 77 && refused.error.contains("sudo systemctl start \(Self.unit)"), "\(refused)")
            #expect(try await lab.root("systemctl start \(Self.unit)").succeeded)
            #expect(try await isRunning(lab, by: Self.unit))
            #expect(try await lab.root("ps -o user= -C hostagent").output == "tester\n", "never root")

            // The stop is requested without privilege. The agent stops itself, and the manager treats that as a stop.
            try await lab.startCounting(Self.name)
            try await lab.tester("hostagent stop \(Self.name)")
            #expect(try await state(lab, user: false) == "inactive success 0")
            #expect(try await lab.root("systemctl start \(Self.unit)").succeeded)
            try await lab.expectNothingLost(Self.name, after: "a stop without privilege")

            // The instance is stopped by every other path.
            let inactive =
                "until [ \"$(systemctl show -P ActiveState \(Self.unit))\" = inactive ]; do sleep 0.1; done"
            let socket = "\(Lab.home)/\(Self.name)/ha.sock"
            for (what, byRoot) in [
                ("the manager", "systemctl stop \(Self.unit)"),
                ("the socket", "curl -sf -X POST --unix-socket \(socket) http://x/v1/stop && \(inactive)"),
                ("poweroff in the guest", inactive),
            ] {
                try await lab.startCounting(Self.name)
                if what.hasPrefix("poweroff") {
                    _ = try await lab.user("tester", "\(Lab.hostagent) shell \(Self.name) sudo poweroff")
                }
                #expect(try await lab.root(byRoot).succeeded, "\(what)")
                #expect(try await state(lab, user: false) == "inactive success 0", "\(what)")
                #expect(try await lab.root("pgrep -c qemu-system").output == "0\n", "\(what)")
                #expect(try await lab.root("systemctl start \(Self.unit)").succeeded)
                try await lab.expectNothingLost(Self.name, after: what)
            }
            try await lab.startCounting(Self.name)
            #expect(try await lab.root("systemctl restart \(Self.unit)").succeeded)
            try await lab.expectNothingLost(Self.name, after: "a restart by the manager")

            // After the death of the agent, a new one attaches. After the death of the guest, the guest is started
            // again.
            let before = try await lab.info(Self.name)
            #expect(try await lab.root("pkill -9 -x hostagent").succeeded)
            let attached = await eventually(within: 60) {
                let now = try? await lab.info(Self.name)
                return now?["run"] as? String != before["run"] as? String && now?["state"] as? String == "Running"
            }
            #expect(attached)
            #expect(try await lab.info(Self.name)["guestPID"] as? Int == before["guestPID"] as? Int)
            #expect(try await lab.root("pkill -9 qemu-system").succeeded)
            let again = await eventually(within: 60) {
                let now = try? await lab.info(Self.name)
                return now?["state"] as? String == "Running" && now?["guestPID"] as? Int != before["guestPID"] as? Int
            }
            #expect(again)

            // The host reboots, and nobody logs in.
            try await lab.startCounting(Self.name)
            try await lab.reboot()
            let back = try await eventually(within: 60) { try await isRunning(lab, by: Self.unit) }
            #expect(back)
            #expect(try await lab.root("systemctl is-system-running --wait").output == "running\n")
            try await lab.expectNothingLost(Self.name, after: "a reboot of the host")

            _ = try await lab.sudoCalls()
            try await lab.tester("hostagent autostart disable \(Self.name)")
            #expect(try await lab.sudoCalls() <= 3)
            let left = try await lab.root("find /etc/systemd -name 'lima-vm@*'; pgrep -a 'hostagent|qemu'")
            #expect(left.output == "", "\(left)")
            let status = try await lab.tester("hostagent autostart status --format json")
            #expect(status.contains(#""enabled":false"#) && !status.contains("condition"), "\(status)")
        }
    }

    @Test(arguments: Lab.System.allCases) func aRegistrationOfSomebodyElse(_ system: Lab.System) async throws {
        try await Lab.with(system) { lab in
            try await lab.prepare(instance: "default")
            // Lima does it in this way: it has a template unit and enables an instance of it.
            let template = "[Service]\nExecStart=/bin/true\nTimeoutSec=10\n[Install]\nWantedBy=default.target\n"
            try await lab.write("/home/tester/.config/systemd/user/lima-vm@.service", template, owner: "tester")
            #expect(try await lab.root("chown -R tester /home/tester/.config").succeeded)
            try await lab.tester("systemctl --user daemon-reload; systemctl --user enable lima-vm@default.service")

            let refused = try await lab.user("tester", "\(Lab.hostagent) autostart enable default")
            #expect(refused.status == 73 && refused.error.contains("--take-over"), "\(refused)")
            let disabled = try await lab.user("tester", "\(Lab.hostagent) autostart disable default")
            #expect(
                disabled.output == "default was not registered\n" && disabled.error.contains("left alone"),
                "\(disabled)")
            #expect(try await lab.tester("systemctl --user is-enabled lima-vm@default.service") == "enabled\n")

            // With a registration at boot too, the instance would be started twice. After a take-over, it is started
            // once.
            try await lab.allowSudo()
            let twice = try await lab.user("tester", "\(Lab.hostagent) autostart enable --condition=boot default")
            #expect(twice.status == 73 && twice.error.contains("--take-over"), "\(twice)")
            try await lab.tester("hostagent autostart enable --condition=boot --take-over default")
            #expect(
                try await lab.user("tester", "systemctl --user is-enabled lima-vm@default.service").output
                    == "disabled\n")
            try await lab.tester("hostagent autostart disable default")
            try await lab.tester("systemctl --user enable lima-vm@default.service")

            let taken = try await lab.user("tester", "\(Lab.hostagent) autostart enable --take-over default")
            #expect(taken.succeeded && taken.error.contains("replaced"), "\(taken)")
            try await lab.tester("hostagent start default")
            #expect(try await lab.info("default")["autoStartedIdentifier"] as? String == "lima-vm@default.service")
            try await lab.tester("hostagent stop default")

            // The manager tried a start, and it failed. The error has the unit's result and the last messages.
            try await lab.tester("mv ~/.lima/default/disk ~/disk.away")
            let failed = try await lab.user("tester", "\(Lab.hostagent) start default")
            #expect(failed.status == 65, "\(failed)")
            #expect(failed.error.contains("lima-vm@default.service: the agent ended with status 65"), "\(failed)")
            #expect(failed.error.contains("is gone, and this instance has run already"), "\(failed)")
            try await lab.tester("mv ~/disk.away ~/.lima/default/disk; hostagent start default")

            // The program was moved. `doctor` reports that before the next boot fails.
            #expect(try await lab.root("cp \(Lab.binary) /usr/bin/hostagent; mv \(Lab.binary) /opt/moved").succeeded)
            let doctor = try await lab.user("tester", "/usr/bin/hostagent doctor --format json")
            #expect(
                doctor.status == 69 && doctor.output.contains("starts \(Lab.binary), which is not there"), "\(doctor)")
            #expect(try await lab.root("mv /opt/moved \(Lab.binary)").succeeded)

            // `delete` stops and unregisters the instance first.
            try await lab.tester("hostagent delete --force default")
            let units = try await lab.user("tester", "find ~/.config -name 'lima-vm@*'")
            #expect(units.output == "/home/tester/.config/systemd/user/lima-vm@.service\n", "\(units)")
            #expect(try await lab.root("pgrep -a 'hostagent|qemu'").output == "")
        }
    }
}
