import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// One test's emulated launchd: it is pid 1 of a namespace, in which every command of the test runs.
private struct LaunchdHost: ~Copyable, Sendable {
    let home: TestHome
    private let state: String
    private let daemon: Int32
    private let task: Task<Tool.Result?, Never>

    static let emulator = Checkout.root + "/Tests/launchctl-emulator"

    init(screen: Bool = true, throttle: Int = 1, old: Bool = false) async throws {
        let home = try TestHome()
        let state = home.path + "/_launchd"
        try Files.makeDirectory(state)
        try Files.makeDirectory(home.path + "/_bin")
        _ = try await Tool("ln", ["-s", Self.emulator, home.path + "/_bin/launchctl"]).run()
        let arguments =
            [
                "--pid", "--fork", "--mount-proc", "--kill-child", "--", "/usr/bin/python3", Self.emulator, "daemon",
                state,
            ]
            + ["--throttle", String(throttle)] + (screen ? [] : ["--no-gui"]) + (old ? ["--old"] : [])
        let tool = Tool(
            "unshare", arguments, environment: ["XDG_DATA_HOME": Checkout.dataDirectory, "HOME": home.path])
        let task = Task { try? await tool.run() }
        let marker = "/usr/bin/python3 \(Self.emulator) daemon \(state)"
        #expect(await eventually(within: 20) { Files.kind(state + "/launchd.sock") == .socket })
        let found = try await Tool("pgrep", ["-n", "-f", "^\(marker)"]).run().output.trimmed
        daemon = try #require(Int32(found))
        self.task = task
        self.state = state
        self.home = home
    }

    func down() async {
        task.cancel()
        _ = await task.value
    }

    /// Tells the emulator how to answer: `busy`, `kickstart-blocks`.
    func set(_ what: String, _ value: Int) throws { try TextFile.replace("\(state)/\(what)", with: String(value)) }

    /// Runs a command in the namespace of launchd.
    func run(_ command: String...) async throws -> Tool.Result {
        let program = command[0] == "hostagent" ? Checkout.binary : command[0]
        return try await Tool(
            "nsenter", ["-t", String(daemon), "-p", "-m", "--", program] + command.dropFirst(),
            environment: [
                "HOSTAGENT_MANAGER": "launchd", "LAUNCHD_STATE": state, "LIMA_HOME": home.path, "HOME": home.path,
                "XDG_DATA_HOME": Checkout.dataDirectory,
                "PATH": "\(home.path)/_bin:\(HostProcess.searchPath ?? "/usr/bin:/bin")",
            ]
        ).run()
    }

    func info(_ name: String) async throws -> AgentInfo? {
        let text = try await run("hostagent", "info", name).output
        return try? JSONDecoder().decode(AgentInfo.self, from: Data(text.utf8))
    }

    static func with(
        screen: Bool = true, throttle: Int = 1, old: Bool = false,
        _ body: (borrowing LaunchdHost) async throws -> Void
    ) async throws {
        let host = try await LaunchdHost(screen: screen, throttle: throttle, old: old)
        do {
            try await body(host)
        } catch {
            Issue.record("under launchd: \(error)")
        }
        await host.down()
    }
}

/// The launchd part, tested against the emulator. It was never run on macOS.
@Suite(
    .serialized, .enabled(if: Checkout.canBootGuests && (HostProcess.uid == 0)), .guestSlot)
struct LaunchdTests {
    private static let label = "io.lima-vm.autostart.my-vm.2_x"
    private static let target = "gui/0/\(label)"

    @Test(arguments: [false, true]) func theEmulatorBehavesAsReported(old: Bool) async throws {
        try await LaunchdHost.with(old: old) { host in
            let plist = host.home.path + "/job.plist"
            let text = """
                <?xml version="1.0"?><plist version="1.0"><dict><key>Label</key><string>job</string>
                <key>ProgramArguments</key><array><string>/bin/sh</string><string>-c</string>
                <string>trap "until [ -e \(host.home.path)/go ]; do sleep 0.05; done; exit 0" TERM; echo $XPC_SERVICE_NAME $PPID > \(host.home.path)/said; sleep 60 &amp; wait</string>
                </array><key>RunAtLoad</key><true/><key>ExitTimeOut</key><integer>120</integer></dict></plist>
                """
            try TextFile.replace(plist, with: text)
            #expect(try await host.run("launchctl", "print", "gui/0/job").status == 113)
            #expect(try await host.run("launchctl", "bootout", "gui/0/job").status == 3)
            #expect(try await host.run("launchctl", "bootstrap", "gui/0", plist).status == 0)
            let said = host.home.path + "/said"
            #expect(await eventually(within: 10) { Files.kind(said) != nil && !TextFile.tail(said, count: 99).isEmpty })
            #expect(TextFile.tail(said, count: 99) == "job 1\n", "its parent is pid 1")
            #expect(try await host.run("launchctl", "bootstrap", "gui/0", plist).status == (old ? 37 : 5))
            #expect(try await host.run("launchctl", "bootout", "gui/0/job").status == (old ? 36 : 0))
            #expect(try await host.run("launchctl", "bootout", "gui/0/job").status == (old ? 36 : 5))
            #expect(try await host.run("launchctl", "kickstart", "gui/0/job").status == 37)
            #expect(try await host.run("launchctl", "bootstrap", "gui/0", plist).status == 5, "too soon")
            let draining = try await host.run("launchctl", "print", "gui/0/job").output
            #expect(draining.contains("state = SIGTERMed") && draining.contains("pid = "), "\(draining)")
            try TextFile.replace(host.home.path + "/go", with: "")
            let gone = try await eventually(within: 10) {
                try await host.run("launchctl", "print", "gui/0/job").status == 113
            }
            #expect(gone)
            #expect(try await host.run("launchctl", "disable", "gui/0/job").status == 0)
            #expect(try await host.run("launchctl", "bootstrap", "gui/0", plist).status == 119)
            #expect(try await host.run("launchctl", "bootstrap", "gui/501x", plist).status == 0)
            #expect(try await host.run("launchctl", "bootstrap", "pid/7", plist).status == 125)
        }
    }

    @Test func aLoginJobFromEnableToDisable() async throws {
        try await LaunchdHost.with { host in
            let name = "my-vm.2_x"
            #expect(try await host.run("hostagent", "create", "--name", name, "mini").succeeded)
            // An override that was left behind takes precedence until it is removed.
            #expect(try await host.run("launchctl", "disable", Self.target).succeeded)
            let enabled = try await host.run("hostagent", "autostart", "enable", name)
            #expect(enabled.succeeded, "\(enabled)")
            let plist = "\(host.home.path)/Library/LaunchAgents/\(Self.label).plist"
            let text = try TextFile.read(plist)
            for key in ["AbandonProcessGroup", "ExitTimeOut", "SuccessfulExit", "RunAtLoad", "EnvironmentVariables"] {
                #expect(text.contains("<key>\(key)</key>"))
            }
            #expect(try await host.info(name) == nil, "it starts at the next login")

            let started = try await host.run("hostagent", "start", name)
            #expect(started.succeeded && started.output.contains("get a shell with"), "\(started)")
            let first = try #require(try await host.info(name))
            #expect(first.autoStartedIdentifier == Self.label && first.manager.kind == .launchd)

            // A stop is followed by a start at once. The label becomes free only when the agent is gone.
            let restarted = try await host.run("hostagent", "restart", name)
            #expect(restarted.succeeded, "\(restarted)")
            let second = try #require(try await host.info(name))
            #expect(second.run != first.run && second.autoStartedIdentifier == Self.label)

            // The agent dies. launchd starts another agent, which finds the guest.
            #expect(try await host.run("kill", "-9", String(second.agentPID)).succeeded)
            let attached = try await eventually(within: 30) {
                let now = try await host.info(name)
                return now?.state == .running && now?.run != second.run
            }
            #expect(attached)
            let third = try #require(try await host.info(name))
            #expect(third.guestPID == second.guestPID)

            // A guest that dies is started again. A guest that powers itself off stays off.
            #expect(try await host.run("kill", "-9", String(try #require(third.guestPID))).succeeded)
            let again = try await eventually(within: 60) {
                let now = try await host.info(name)
                return now?.state == .running && now?.guestPID != third.guestPID
            }
            #expect(again)
            _ = try await host.run("hostagent", "shell", name, "sudo", "poweroff")
            let off = try await eventually(within: 30) {
                try await host.run("launchctl", "print", Self.target).output.contains("state = not running")
            }
            #expect(off)
            let status = try await host.run("hostagent", "autostart", "status", "--format", "json")
            #expect(status.output.contains(#""status":"Stopped""#), "\(status)")

            // A loaded job that does not run is started with kickstart.
            #expect(try await host.run("hostagent", "start", name).succeeded)

            // A job that is being ended has a process, and is not running: the start waits until launchd let it go.
            #expect(try await host.run("launchctl", "bootout", Self.target).status == 0)
            let status2 = try await host.run("hostagent", "autostart", "status", "--format", "json")
            #expect(status2.output.contains(#""status":"Stopping""#), "\(status2)")
            let after = try await host.run("hostagent", "start", name)
            #expect(after.succeeded, "\(after)")
            #expect(try await host.info(name)?.state == .running)
            let disabled = try await host.run("hostagent", "autostart", "disable", name)
            #expect(disabled.succeeded, "\(disabled)")
            #expect(try await host.run("pgrep", "-c", "qemu-system|hostagent").output == "0\n")
            #expect(Files.kind(plist) == nil)
            #expect(try await host.run("launchctl", "print", Self.target).status == 113)
            #expect(try TextFile.read(host.home.path + "/_launchd/disabled.json") == "[]", "no override is left")
        }
    }

    /// launchd restarts every job that ends with a status other than zero. A job that would fail again must therefore
    /// end with zero.
    @Test func aMistakeIsSaidAndNotTriedAgain() async throws {
        try await LaunchdHost.with { host in
            #expect(try await host.run("hostagent", "create", "mini").succeeded)
            #expect(try await host.run("hostagent", "autostart", "enable", "mini").succeeded)
            let yaml = host.home.directory("mini") + "/lima.yaml"
            let text = try TextFile.read(yaml)
            try TextFile.replace(host.home.directory("mini") + "/hostagent.yaml", with: "stopGrace: never\n")
            let started = try await host.run("hostagent", "start", "mini")
            #expect(started.status != 0 && started.error.contains("stopGrace"), "\(started)")
            try Files.remove(host.home.directory("mini") + "/hostagent.yaml")
            let target = "gui/0/io.lima-vm.autostart.mini"
            try TextFile.replace(yaml, with: text + "nonsense: 1\n")
            #expect(
                try await host.run(
                    "launchctl", "bootstrap", "gui/0",
                    "\(host.home.path)/Library/LaunchAgents/io.lima-vm.autostart.mini.plist"
                ).succeeded)
            let ended = try await eventually(within: 10) {
                try await host.run("launchctl", "print", target).output.contains("state = not running")
            }
            #expect(ended)
            #expect(try await host.run("launchctl", "print", target).output.contains("runs = 1"))
            let said = try TextFile.read(host.home.directory("mini") + "/ha.stderr.log")
            #expect(said.contains("nonsense: unknown key"))
            try TextFile.replace(yaml, with: text)
            // The agent cannot even begin. The start command ends all the same.
            let lock = host.home.directory("mini") + "/agent.lock"
            #expect(try await Tool("ln", ["-sfn", "/nowhere/at/all", lock]).run().succeeded)
            let hopeless = try await host.run("hostagent", "start", "mini")
            #expect(hopeless.status != 0 && hopeless.error.contains("did not start"), "\(hopeless)")
            let disabled = try await host.run("launchctl", "disable", target)
            #expect(disabled.succeeded)
            #expect(
                try await host.run("hostagent", "autostart", "status", "--format", "json").output.contains(
                    #""enabled":false"#))
            #expect(try await host.run("hostagent", "autostart", "disable", "mini").succeeded)
            #expect(try TextFile.read(host.home.path + "/_launchd/disabled.json") == "[]", "no override is left")
        }
    }

    @Test func overSSHThereIsNoScreen() async throws {
        try await LaunchdHost.with(screen: false) { host in
            #expect(try await host.run("hostagent", "create", "mini").succeeded)
            let enabled = try await host.run("hostagent", "autostart", "enable", "--now", "mini")
            #expect(enabled.succeeded && enabled.error.contains("--condition=boot"), "\(enabled)")
            #expect(try await host.run("launchctl", "print", "user/0/io.lima-vm.autostart.mini").succeeded)
            let info = try await host.info("mini")
            #expect(info?.autoStartedIdentifier == "io.lima-vm.autostart.mini")
            let doctor = try await host.run("hostagent", "doctor")
            #expect(doctor.output.contains("user/0 is used"), "\(doctor)")
            #expect(try await host.run("hostagent", "stop", "--force", "mini").succeeded)
            #expect(try await host.run("hostagent", "delete", "mini").succeeded)
            #expect(try Files.names(in: host.home.path + "/Library/LaunchAgents") == [])
        }
    }

    /// launchd refuses a bootstrap for some seconds after a job has gone, and a kickstart can block. Neither is final.
    @Test func aBusyLaunchdIsAskedAgain() async throws {
        try await LaunchdHost.with { host in
            #expect(try await host.run("hostagent", "create", "mini").succeeded)
            #expect(try await host.run("hostagent", "autostart", "enable", "mini").succeeded)
            try host.set("busy", 4)
            let started = try await host.run("hostagent", "start", "mini")
            #expect(started.succeeded, "\(started)")
            let first = try #require(try await host.info("mini"))
            _ = try await host.run("hostagent", "shell", "mini", "sudo", "poweroff")
            let target = "gui/0/io.lima-vm.autostart.mini"
            let off = try await eventually(within: 30) {
                try await host.run("launchctl", "print", target).output.contains("state = not running")
            }
            #expect(off)
            try host.set("kickstart-blocks", 300)
            let kicked = try await host.run("hostagent", "start", "mini")
            #expect(kicked.succeeded, "\(kicked)")
            #expect(try await host.info("mini")?.run != first.run)
            // What launchd never takes is an error with an end.
            #expect(try await host.run("hostagent", "stop", "mini").succeeded)
            try host.set("busy", 1000)
            let refused = try await host.run("hostagent", "start", "mini")
            #expect(refused.status != 0 && refused.error.contains("launchd refuses"), "\(refused)")
            try host.set("busy", 0)
            #expect(try await host.run("hostagent", "autostart", "disable", "mini").succeeded)
        }
    }

    /// A job that waits for its throttle still shows how its last process ended. That is no answer to a new start.
    @Test func anOldFailureIsNotTheResultOfANewStart() async throws {
        try await LaunchdHost.with(throttle: 15) { host in
            #expect(try await host.run("hostagent", "create", "mini").succeeded)
            #expect(try await host.run("hostagent", "autostart", "enable", "--now", "mini").succeeded)
            let first = try #require(try await host.info("mini"))
            #expect(try await host.run("kill", "-9", String(first.agentPID)).succeeded)
            let waiting = try await eventually(within: 5) {
                try await host.run("launchctl", "print", "gui/0/io.lima-vm.autostart.mini").output
                    .contains("state = spawn scheduled")
            }
            #expect(waiting)
            let started = try await host.run("hostagent", "start", "mini")
            #expect(started.succeeded, "\(started)")
            let second = try #require(try await host.info("mini"))
            #expect(second.guestPID == first.guestPID && second.run != first.run)
            #expect(try await host.run("hostagent", "autostart", "disable", "mini").succeeded)
        }
    }

    /// Puts another file with the same program in the place of this one.
    private func replace(_ binary: String) throws {
        try? Files.remove(binary)
        try Files.copy(Checkout.binary, to: binary)
        try Files.setMode(binary, 0o755)
    }

    /// Waits for an agent of the mini guest that is not this run.
    private func running(_ host: borrowing LaunchdHost, after run: String = "") async throws -> AgentInfo {
        for _ in 0..<300 {
            if let info = try await host.info("mini"), info.state == .running, info.run != run { return info }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw HostError(.failed, "no new agent has the guest within 30 s")
    }

    /// launchd refuses a program whose file was replaced since the job was loaded. `enable` and `upgrade` load it anew,
    /// and the guest runs on.
    @Test func aReplacedProgramIsLoadedAnew() async throws {
        try await LaunchdHost.with { host in
            let binary = host.home.path + "/_bin/hostagent"
            try replace(binary)
            #expect(try await host.run(binary, "create", "mini").succeeded)
            #expect(try await host.run(binary, "autostart", "enable", "--now", "mini").succeeded)
            let first = try await running(host)

            try replace(binary)
            #expect(try await host.run("kill", "-9", String(first.agentPID)).succeeded)
            let refused = try await host.run(binary, "start", "mini")
            #expect(refused.status != 0 && refused.error.contains("OS_REASON_CODESIGNING"), "\(refused)")
            let enabled = try await host.run(binary, "autostart", "enable", "mini")
            #expect(enabled.succeeded, "\(enabled)")
            let second = try await running(host, after: first.run)
            #expect(second.guestPID == first.guestPID)

            // The job runs while it is loaded anew: the agent is replaced, the guest is not asked to stop.
            let again = try await host.run(binary, "autostart", "enable", "--keep-alive=always", "mini")
            #expect(again.succeeded && again.error.contains("the guest runs on"), "\(again)")
            let third = try await running(host, after: second.run)
            #expect(third.guestPID == first.guestPID)

            try replace(binary)
            let upgraded = try await host.run(binary, "upgrade", "mini")
            #expect(upgraded.succeeded, "\(upgraded)")
            let fourth = try await running(host, after: third.run)
            #expect(try await host.run("kill", "-9", String(fourth.agentPID)).succeeded)
            let fifth = try await running(host, after: fourth.run)
            #expect(fifth.guestPID == first.guestPID)
            #expect(try await host.run(binary, "autostart", "disable", "mini").succeeded)
            #expect(try await host.run("pgrep", "-c", "qemu-system").output == "0\n")
        }
    }

    /// A job that launchd lets go of and then does not take costs no guest, and the error says what is left.
    @Test func aFailedLoadLeavesTheGuestAlone() async throws {
        try await LaunchdHost.with { host in
            #expect(try await host.run("hostagent", "create", "mini").succeeded)
            #expect(try await host.run("hostagent", "autostart", "enable", "--now", "mini").succeeded)
            let first = try #require(try await host.info("mini"))
            try host.set("busy", 1000)
            let failed = try await host.run("hostagent", "autostart", "enable", "mini")
            #expect(failed.status != 0 && failed.error.contains("its guest runs on without an agent"), "\(failed)")
            // The former registration is loaded again as soon as launchd takes it.
            try host.set("busy", 0)
            #expect(try await host.run("hostagent", "start", "mini").succeeded)
            try host.set("busy", 17)
            let restored = try await host.run("hostagent", "autostart", "enable", "--keep-alive=no", "mini")
            #expect(restored.status != 0 && restored.error.contains("as it was registered before"), "\(restored)")
            let second = try await running(host)
            #expect(second.guestPID == first.guestPID && second.run != first.run)

            // launchd is ending the job, and its agent hangs: it refuses another bootout, and the stop goes on.
            #expect(try await host.run("kill", "-STOP", String(second.agentPID)).succeeded)
            #expect(try await host.run("launchctl", "bootout", "gui/0/io.lima-vm.autostart.mini").status == 0)
            #expect(try await host.run("launchctl", "bootout", "gui/0/io.lima-vm.autostart.mini").status == 5)
            let stopped = try await host.run("hostagent", "stop", "--force", "mini")
            #expect(stopped.succeeded, "\(stopped)")
            #expect(try await host.run("pgrep", "-c", "qemu-system").output == "0\n")
            #expect(try await host.run("hostagent", "autostart", "disable", "mini").succeeded)
        }
    }
}
