import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// launchd's registration at boot, by an account that may use sudo, against the emulator; it was never run on macOS.
/// The tests run in a lab because they need its accounts. The lab's systemd plays no part.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct LaunchdBootTests {
    private static let name = "my-vm.2_x"
    private static let label = "io.lima-vm.daemon.my-vm.2_x"
    private static let plist = "/Library/LaunchDaemons/\(label).plist"
    private static let daemon = "/usr/bin/python3 /usr/local/bin/launchctl daemon /run/launchd-emulator"

    /// Boots launchd as pid 1 of a namespace, with the registered daemons.
    private func boot(_ lab: borrowing Lab) async throws {
        let result = try await lab.root(
            """
            rm -f /run/launchd-emulator/launchd.sock
            XDG_DATA_HOME=/opt/guests setsid unshare --pid --fork --mount-proc --kill-child -- \
                \(Self.daemon) --no-gui --throttle 1 --load /Library/LaunchDaemons > /run/launchd.log 2>&1 < /dev/null &
            n=0; until [ -S /run/launchd-emulator/launchd.sock ] || [ $n -gt 200 ]; do sleep 0.05; n=$((n+1)); done
            """)
        #expect(result.succeeded, "\(result)")
    }

    /// Runs a command as `tester`, or as root, in the namespace of launchd.
    private func run(_ lab: borrowing Lab, _ script: String, root: Bool = false, path: String = "") async throws
        -> Tool.Result
    {
        let account = root ? "" : "setpriv --reuid tester --regid tester --init-groups"
        return try await lab.root(
            """
            exec nsenter -t $(pgrep -n -f '^\(Self.daemon)') -p -m -- \(account) env HOME=/home/tester \
                PATH=\(path)/usr/local/bin:/usr/bin:/bin:/usr/sbin HOSTAGENT_MANAGER=launchd XDG_DATA_HOME=/opt/guests \
                sh -c '\(script)'
            """)
    }

    private func info(_ lab: borrowing Lab) async throws -> AgentInfo? {
        let text = try await run(lab, "hostagent info \(Self.name)").output
        return try? JSONDecoder().decode(AgentInfo.self, from: Data(text.utf8))
    }

    private func isRunning(_ lab: borrowing Lab, _ differs: (AgentInfo) -> Bool = { _ in true }) async throws -> Bool {
        try await eventually(within: 60) {
            guard let now = try await info(lab) else { return false }
            return now.state == .running && now.autoStartedIdentifier == Self.label && differs(now)
        }
    }

    private func prepare(_ lab: borrowing Lab) async throws {
        try await lab.prepare(instance: Self.name, linger: false)
        try await lab.allowSudo()
        try await lab.put(Checkout.root + "/Tests/launchctl-emulator", into: "/usr/local/bin")
        let made = try await lab.root(
            "cd /usr/local/bin && mv launchctl-emulator launchctl && chmod 755 launchctl && "
                + "mkdir -p /run/launchd-emulator /Library/LaunchDaemons")
        #expect(made.succeeded, "\(made)")
        try await boot(lab)
    }

    @Test func aDaemonOfAnUnprivilegedAccount() async throws {
        try await Lab.with { lab in
            try await prepare(lab)
            let enabled = try await run(lab, "hostagent autostart enable \(Self.name) --condition=boot")
            #expect(enabled.succeeded && enabled.error.contains("it is being started now"), "\(enabled)")
            #expect(try await lab.sudoCalls() == 2)
            #expect(try await lab.root("stat -c '%U %a' \(Self.plist)").output == "root 644\n")
            #expect(try await isRunning(lab))
            #expect(try await lab.root("ps -o user= -C hostagent").output == "tester\n", "never root")
            let first = try #require(try await info(lab))

            // The agent dies, and the next one finds the guest.
            #expect(try await run(lab, "kill -9 \(first.agentPID)").succeeded)
            #expect(try await isRunning(lab) { $0.run != first.run && $0.guestPID == first.guestPID })

            // The stop is requested without privilege. The agent stops itself, and launchd treats that as a stop.
            let stopped = try await run(lab, "hostagent stop \(Self.name)")
            #expect(stopped.succeeded, "\(stopped)")
            #expect(try await run(lab, "launchctl print system/\(Self.label)").output.contains("state = not running"))
            #expect(try await lab.root("pgrep -c 'qemu-system|hostagent'").output == "0\n")

            // launchd refuses an unprivileged start, and the error contains the command to type.
            let refused = try await run(lab, "hostagent start \(Self.name)")
            #expect(refused.status == 77, "\(refused)")
            let line = "sudo launchctl kickstart system/\(Self.label)"
            #expect(refused.error.contains(line), "\(refused)")
            #expect(try await run(lab, line).succeeded)
            #expect(try await isRunning(lab))

            // The machine loses its power, and nobody logs in afterwards.
            #expect(try await lab.root("pkill -9 -f '^\(Self.daemon)'").succeeded)
            let dead = try await eventually(within: 20) {
                try await lab.root("pgrep -c 'qemu-system|hostagent'").output == "0\n"
            }
            #expect(dead)
            try await boot(lab)
            #expect(try await isRunning(lab) { $0.run != first.run })

            // A running job is loaded anew, so that its new settings count. The guest runs on.
            let former = try #require(try await info(lab))
            let again = try await run(lab, "hostagent autostart enable \(Self.name) --condition=boot --keep-alive=no")
            #expect(again.succeeded && again.error.contains("the guest runs on"), "\(again)")
            #expect(try await isRunning(lab) { $0.run != former.run && $0.guestPID == former.guestPID })

            _ = try await lab.sudoCalls()
            let disabled = try await run(lab, "hostagent autostart disable \(Self.name)")
            #expect(disabled.succeeded, "\(disabled)")
            #expect(try await lab.sudoCalls() <= 3)
            #expect(try await run(lab, "launchctl print system/\(Self.label)").status == 113)
            #expect(try await lab.root("ls /Library/LaunchDaemons; pgrep -a 'qemu-system|hostagent'").output == "")
        }
    }

    @Test func anOverrideAndARefusal() async throws {
        try await Lab.with { lab in
            try await prepare(lab)
            // A label that was disabled stays disabled, whatever is installed, until it is enabled.
            #expect(try await run(lab, "launchctl disable system/\(Self.label)", root: true).succeeded)
            #expect(
                try await run(lab, "hostagent autostart enable \(Self.name) --condition=boot").succeeded)
            #expect(try await isRunning(lab))
            let status = try await run(lab, "hostagent autostart status")
            #expect(status.output.contains("boot") && status.output.contains("Running"), "\(status)")
            #expect(try await run(lab, "hostagent autostart disable \(Self.name)").succeeded)
            #expect(try await lab.root("cat /run/launchd-emulator/disabled.json").output == "[]")

            // The second sudo call is refused. The file that the first call installed is removed.
            let path = try await lab.refuseSudo(call: 2)
            let refused = try await run(
                lab, "hostagent autostart enable \(Self.name) --condition=boot", path: path + ":")
            #expect(refused.status != 0 && refused.error.contains("a password is required"), "\(refused)")
            #expect(try await lab.root("ls /Library/LaunchDaemons").output == "")

            // Root registers the instance for an account: there is no sudo call, and the agent runs as that account.
            _ = try await lab.sudoCalls()
            let byRoot = try await run(
                lab,
                "LIMA_HOME=\(Lab.home) hostagent autostart enable \(Self.name) --condition=boot --user tester",
                root: true)
            #expect(byRoot.succeeded, "\(byRoot)")
            #expect(try await lab.sudoCalls() == 0)
            #expect(try await isRunning(lab))
            #expect(try await lab.root("ps -o user= -C hostagent").output == "tester\n", "never root")
            #expect(try await run(lab, "hostagent autostart disable \(Self.name)").succeeded)
        }
    }
}
