import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Real guests with the real program: QEMU boots them, and SSH logs in. They run one after the other, because the
/// machine has two cores.
@Suite(.serialized, .enabled(if: Checkout.canBootGuests), .guestSlot)
struct GuestTests {
    private static func info(_ home: borrowing TestHome, _ name: String) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory(name) + "/ha.sock").info()
    }

    /// The kinds and payload words of the events, to check their order.
    private static func story(_ events: [EventRecord]) -> [String] {
        // Another test may set the host's clock, and every agent notices that.
        events.filter { $0.kind != "guest-clock-set" }.map { event in
            switch event.kind {
            case "phase": "phase \(event.phase.rawValue)"
            case "stop-step", "guest-ended": "\(event.kind) \(event.step?.rawValue ?? "-")"
            default: event.kind
            }
        }
    }

    @Test func theWholeLifeOfAGuest() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "my-vm.2_x", "mini")
        let started = try await home.run("start", "my-vm.2_x")
        #expect(started.succeeded, "\(started)")
        #expect(started.output.contains("get a shell with: hostagent shell my-vm.2_x"))

        let info = try await Self.info(home, "my-vm.2_x")
        #expect(info.state == .running && info.phase == .running && info.readyAt != nil)
        #expect(info.autoStartedIdentifier == nil && info.manager.kind == .none)
        let guest = try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })

        let again = try await home.run("start", "my-vm.2_x")
        #expect(again.succeeded && again.output == "my-vm.2_x is running already\n")

        // Arguments arrive unchanged, and the exit status is returned.
        let shell = try await home.run("shell", "my-vm.2_x", "--", "printf", "%s|", "a b", "it's", "$HOME")
        #expect(shell.output == "a b|it's|$HOME|")
        #expect(try await home.run("shell", "my-vm.2_x", "sh", "-c", "exit 7").status == 7)

        let row = try await home.run("list", "--format", "{{.Name}} {{.Status}} {{.SSHLocalPort}} {{.DriverPID}}")
        #expect(row.output == "my-vm.2_x Running \(info.sshLocalPort ?? 0) \(guest.pid)\n")

        // QEMU has a session of its own and blocks the signals that come when a session ends.
        let status = try TextFile.read("/proc/\(guest.pid)/stat").split(separator: " ")
        #expect(status[5] == "\(guest.pid)", "session leader")
        for number in [15, 1, 2] as [Int32] { #expect(guest.signal(number)) }

        // An acknowledged write survives a stop and a start, and the file system was left clean.
        let write = try await home.run("shell", "my-vm.2_x", "sh", "-c", "echo kept > /data/proof && sync")
        #expect(write.succeeded)
        #expect(guest.isAlive)
        #expect(try await home.run("stop", "my-vm.2_x").output == "my-vm.2_x is stopped\n")
        #expect(!guest.isAlive)
        let events = try home.events("my-vm.2_x")
        #expect(
            Self.story(events) == [
                "phase preparing", "guest-spawned", "phase booting", "phase provisioning", "guest-ready",
                "access-confirmed", "phase running", "stop-requested", "phase stopping", "stop-step ask",
                "stop-step quit", "guest-ended ask", "phase stopped", "exiting",
            ])
        #expect(events.map(\.seq) == Array(1...events.count))
        #expect(Set(events.map(\.run)).count == 1)
        #expect(events.last?.exitStatus == 3)
        for leftover in ["ha.sock", "ha.pid", "qemu.pid", "qmp.sock", "guest.json"] {
            #expect(Files.kind("\(home.directory("my-vm.2_x"))/\(leftover)") == nil, "\(leftover)")
        }
        #expect(try await home.run("stop", "my-vm.2_x").output == "my-vm.2_x was not running\n")

        try await home.succeeds("restart", "my-vm.2_x")
        #expect(try await home.run("shell", "my-vm.2_x", "cat", "/data/proof").output == "kept\n")
        let journal = try await home.run("shell", "my-vm.2_x", "sudo", "dmesg")
        #expect(journal.output.contains("EXT4-fs") && !journal.output.contains("recovery complete"))

        let refused = try await home.run("delete", "my-vm.2_x")
        #expect(refused.status == 75)
        try await home.succeeds("delete", "--force", "my-vm.2_x")
        #expect(try Files.names(in: home.path) == ["_config"])
    }

    @Test func aGuestMayPowerItselfOffOrReboot() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let agent = try #require(ProcessIdentity.of(pid: try await Self.info(home, "mini").agentPID))

        _ = try await home.run("shell", "mini", "sudo", "reboot")
        let backUp = try await eventually(within: 60) {
            let story = Self.story(try home.events("mini"))
            return story.contains("guest-rebooted") && story.last == "phase running"
        }
        #expect(backUp)
        #expect(agent.isAlive)

        _ = try await home.run("shell", "mini", "sudo", "poweroff")
        let gone = await eventually(within: 60) { !agent.isAlive }
        #expect(gone)
        let events = try home.events("mini")
        #expect(events.last?.exitStatus == 0)
        #expect(Self.story(events).contains("guest-ended -"))
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Stopped\n")
    }

    @Test func aForcedStopAndAKilledGuest() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "--force", "mini")
        #expect(Self.story(try home.events("mini")).contains("guest-ended quit"))

        try await home.succeeds("start", "mini")
        let info = try await Self.info(home, "mini")
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) }).signal(9)
        _ = await agent.waitUntilEnded()
        #expect(try home.events("mini").last?.exitStatus == 1)
        let row = try await home.run("list", "--format", "{{.Status}} {{.Errors}}")
        #expect(row.output.hasPrefix("Failed [the machine was killed by signal 9"), "\(row.output)")
    }

    @Test func aStopDuringTheBootIsHonoured() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        async let starting = home.tool(["start", "mini"]).run()
        let booting = await eventually(within: 30) { (try? await Self.info(home, "mini"))?.phase == .booting }
        #expect(booting)
        try await home.succeeds("stop", "mini")
        let started = try await starting
        #expect(started.status == 3, "\(started)")
        #expect(started.error.contains("did not start: it was stopped"))
        #expect(try home.events("mini").last?.phase == .stopped)
    }

    @Test func twoStartsAtOnceAreOne() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let tools = (0..<2).map { _ in home.tool(["start", "mini"]) }
        async let first = tools[0].run()
        async let second = tools[1].run()
        let results = try await [first, second]
        #expect(results.map(\.status) == [0, 0], "\(results)")

        let foreground = try await home.run("start", "mini", "--foreground")
        let agent = try await Self.info(home, "mini").agentPID
        #expect(foreground.status == 75)
        #expect(foreground.error.contains("is held by process \(agent)"), "\(foreground.error)")
        try await home.succeeds("stop", "mini")
    }

    @Test func whatAPowerLossLeavesIsNoObstacle() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let directory = home.directory("mini")
        // The leftovers are a pid that now belongs to another process, a socket without a listener, and a record of an
        // earlier boot.
        try TextFile.replace(directory + "/ha.pid", with: "\(HostProcess.pid)\n")
        try TextFile.replace(directory + "/qemu.pid", with: "1\n")
        for socket in ["ha.sock", "qmp.sock", "chan.sock"] {
            let script = "import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
            #expect(try await Tool("python3", ["-c", script, "\(directory)/\(socket)"]).run().succeeded)
        }
        let me = try #require(ProcessIdentity.of(pid: HostProcess.pid))
        try TextFile.replace(
            directory + "/guest.json",
            with: #"{"driver":"qemu","accelerator":"tcg","sshLocalPort":22,"#
                + #""process":{"pid":\#(me.pid),"startTime":\#(me.startTime),"bootID":"earlier"}}"#)
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Stopped\n")
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
        #expect(me.isAlive)
    }

    @Test func aTakenPortIsSaidBeforeAnythingBoots() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let port = try LoopbackPort.free()
        let yaml = home.directory("mini") + "/lima.yaml"
        try TextFile.replace(yaml, with: try TextFile.read(yaml) + "ssh: {localPort: \(port)}\n")
        let script =
            "import socket,sys,time\ns=socket.socket(); s.bind(('127.0.0.1',int(sys.argv[1]))); s.listen(); time.sleep(60)"
        let thief = Task { try await Tool("python3", ["-c", script, String(port)]).run() }
        #expect(await eventually(within: 20) { !LoopbackPort.isFree(port) })
        let refused = try await home.run("start", "mini")
        #expect(refused.status == 69 && refused.error.contains("port \(port)"), "\(refused)")
        thief.cancel()
        _ = try? await thief.value
        #expect(await eventually(within: 20) { LoopbackPort.isFree(port) })
        try await home.succeeds("start", "mini")
        #expect(try await Self.info(home, "mini").sshLocalPort == port)
        try await home.succeeds("stop", "mini")
    }

    /// A dry run makes and starts nothing, and refuses what the real run would refuse.
    @Test func aDryRunIsAsStrictAsTheRealOne() async throws {
        let home = try TestHome()
        let planned = try await home.run("create", "mini", "--dry-run")
        #expect(planned.succeeded && planned.output == "mini: make \(home.directory("mini"))\n", "\(planned)")
        #expect(Files.kind(home.directory("mini")) == nil)
        try await home.succeeds("create", "mini")
        #expect(try await home.run("create", "mini", "--dry-run").status == 73)
        let missing = try await home.tool(["create", "--name", "n", "--dry-run", "-"])
            .with(input: "images: [{location: /nowhere/image}]\n").run()
        #expect(missing.status == 69 && missing.error.contains("/nowhere/image"), "\(missing)")

        let start = try await home.run("start", "mini", "--dry-run", "--foreground")
        #expect(start.succeeded && start.output.hasPrefix("mini: "), "\(start)")
        #expect(Files.kind(home.directory("mini") + "/ha.stdout.log") == nil, "no agent ran")
    }

    @Test func aDeadlineSaysWhatTheConsoleSaidLast() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let directory = home.directory("mini")
        // This guest never reports that it is ready: it panics early and halts, with the console on.
        let yaml = try TextFile.read(directory + "/lima.yaml").replacing("quiet", with: "rdinit=/bin/false panic=0")
        try TextFile.replace(directory + "/lima.yaml", with: yaml)
        try TextFile.replace(directory + "/hostagent.yaml", with: "stopGrace: 2s\n")
        let failed = try await home.run("start", "mini", "--timeout", "8")
        #expect(failed.status == 1)
        #expect(failed.error.contains("serial.log:"), "\(failed.error)")
        #expect(failed.error.contains("took too long"), "\(failed.error)")
        let story = Self.story(try home.events("mini"))
        #expect(story.contains("stop-step ask") && story.contains("stop-step ask-again"))
        #expect(story.contains("guest-ended quit"), "\(story)")
        // The console of the boot before is not that of this one, which says nothing.
        try TextFile.replace(directory + "/lima.yaml", with: yaml.replacing("console=ttyS0", with: "quiet"))
        let silent = try await home.run("start", "mini", "--timeout", "4")
        #expect(silent.status == 1 && silent.error.contains("is empty"), "\(silent.error)")
        #expect(!silent.error.contains("panic"), "\(silent.error)")
    }

    @Test func provisioningEnvironmentAndProbes() async throws {
        let home = try TestHome()
        let yaml =
            try #require(try await Self.miniYAML(home))
                + """

                env: {GREETING: "it's $HOME"}
                param: {word: 'a "b" c''s'}
                provision:
                - mode: system
                  script: |
                    #!/bin/sh
                    printf '%s' "$GREETING" > /data/system
                    id -un >> /data/who
                    printf '%s' "$PARAM_word/{{.User}}" > /data/parameter
                - mode: user
                  script: id -un >> /tmp/who
                - mode: system
                  script: exit 7
                probes:
                - description: the file is there
                  script: test "$(cat /data/system)" = "it's \\$HOME" && test "$(cat /data/parameter)" = "$PARAM_word/lima"
                """
        let created = try await home.tool(["create", "--name", "p", "-"]).with(input: yaml).run()
        #expect(created.succeeded, "\(created)")
        let started = try await home.run("start", "p")
        #expect(started.succeeded, "\(started)")
        #expect(try await home.run("shell", "p", "cat", "/data/who", "/tmp/who").output == "root\nlima\n")
        let info = try await Self.info(home, "p")
        #expect(info.state == .degraded)
        #expect(info.errors.first?.contains("provisioning script system/002 ended with status 7") == true)
        let health = try await Tool(
            "curl",
            [
                "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket",
                home.directory("p") + "/ha.sock", "http://x/v1/health",
            ]
        ).run()
        #expect(health.output == "503")
        try await home.succeeds("stop", "p")
    }

    /// The text of the template as an instance has it.
    private static func miniYAML(_ home: borrowing TestHome) async throws -> String? {
        try await home.succeeds("create", "--name", "t", "mini")
        let text = try TextFile.read(home.directory("t") + "/lima.yaml")
        try await home.succeeds("delete", "t")
        return text
    }

    @Test func aPlainGuestIsReadyByItsSSHServer() async throws {
        let home = try TestHome()
        let yaml = try #require(try await Self.miniYAML(home)) + "\nplain: true\n"
        #expect(try await home.tool(["create", "--name", "plain", "-"]).with(input: yaml).run().succeeded)
        let started = try await home.run("start", "plain")
        #expect(started.succeeded, "\(started)")
        try await home.succeeds("shell", "plain", "true")
        // After a reboot, readiness is detected again by polling, because no event reports it.
        _ = try await home.run("shell", "plain", "sudo", "reboot")
        let backUp = try await eventually(within: 60) {
            let story = Self.story(try home.events("plain"))
            return story.contains("guest-rebooted") && story.last == "phase running"
        }
        #expect(backUp)
        try await home.succeeds("stop", "plain")
        #expect(Self.story(try home.events("plain")).contains("guest-ended ask"), "the power button alone")
    }

    /// What the socket answers to another account after the permissions on the whole path to it were opened.
    private static func answerToAStranger(_ home: borrowing TestHome, _ name: String) async throws -> Tool.Result {
        let socket = home.directory(name) + "/ha.sock"
        for (path, mode) in [(home.path, 0o711), (home.directory(name), 0o711), (socket, 0o666)] as [(String, UInt32)] {
            try Files.setMode(path, mode)
        }
        let asked = try await Tool(
            "setpriv",
            ["--reuid=65534", "--clear-groups", "curl", "-sS", "-m", "5", "--unix-socket", socket, "http://x/v1/info"]
        ).run()
        for path in [home.directory(name), home.path] { try Files.setMode(path, 0o700) }
        return asked
    }

    @Test func theSocketSpeaksToLimasClientsAndRefusesNonsense() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let socket = home.directory("mini") + "/ha.sock"
        let mode = try await Tool("stat", ["-c", "%a", socket]).run().output
        #expect(mode == "600\n")
        func curl(_ path: String, _ more: String...) async throws -> (String, Int) {
            let result = try await Tool(
                "curl", ["-s", "-m", "5", "-w", "\n%{http_code}", "--unix-socket", socket, "http://x\(path)"] + more
            ).run()
            let lines = result.output.split(separator: "\n", omittingEmptySubsequences: false)
            return (lines.dropLast().joined(separator: "\n"), Int(lines.last ?? "") ?? 0)
        }
        #expect(try await curl("/v1/health") == (#"{"phase":"running","state":"Running"}"#, 200))
        #expect(try await curl("/v1/nothing").1 == 404)
        // Only root can connect as another account. The agent closes the connection without an answer: curl ends with
        // 52 or 56, or with 7 if it was closed at once.
        if HostProcess.uid == 0 {
            let stranger = try await Self.answerToAStranger(home, "mini")
            #expect(stranger.output.isEmpty && [7, 52, 56].contains(stranger.status), "\(stranger)")
        }
        #expect(try await curl("/v1/nothing").0.contains("message"))
        #expect(try await curl("/v1/info", "-X", "DELETE").1 == 405)
        #expect(try await curl("/v1/events?since=x").1 == 400)
        // Past events are sent from a given number on. For a number of another run, or one that was never assigned,
        // they start at 1.
        let run = try await Self.info(home, "mini").run
        let count = try home.events("mini").count
        // Events that arrive meanwhile are not past events.
        func seqs(_ query: String) async throws -> [Int] {
            try await curl("/v1/events" + query, "--max-time", "1").0.split(separator: "\n")
                .compactMap { EventRecord(line: $0.utf8)?.seq }.filter { $0 <= count }
        }
        #expect(try await seqs("") == Array(1...count))
        #expect(try await seqs("?since=\(count - 1)&run=\(run)") == [count])
        #expect(try await seqs("?since=\(count - 1)&run=other") == Array(1...count))
        #expect(try await seqs("?since=9999") == Array(1...count))
        #expect(try await curl("/v1/stop", "-X", "POST").1 == 202)
        let stopped = try await eventually(within: 30) {
            try await home.run("list", "--format", "{{.Status}}").output == "Stopped\n"
        }
        #expect(stopped)
    }
}
