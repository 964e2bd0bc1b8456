import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Actions of guests and people on a running instance that once ended its agent, harmed its host or made its reports
/// wrong.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct RepairTests {
    private static func info(_ home: borrowing TestHome) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
    }

    /// A guest that writes to its console for ever does not fill the host's disk.
    @Test func aFloodOfTheConsole() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "consoleLogLimit: 1MiB\n")
        try await home.succeeds("start", "mini")
        let script =
            "yes 0123456789012345678901234567890123456789 | sudo sh -c 'timeout 8 cat > /dev/ttyS0'; "
            + "sudo sh -c 'echo the-end > /dev/ttyS0'"
        async let flood = home.run("shell", "mini", "sh", "-c", script)
        let console = home.directory("mini") + "/serial.log"
        var largest = 0
        let cut = await eventually(within: 60) {
            largest = max(largest, (Files.size(console) ?? 0) + (Files.size(console + ".1") ?? 0))
            return TextFile.tail(console, count: 4096).contains("the-end")
                || TextFile.tail(console + ".1", count: 4096).contains("the-end")
        }
        _ = try await flood
        #expect(cut, "the newest are kept")
        #expect(largest > 100_000 && largest < 16 << 20, "\(largest) bytes")
        try await home.succeeds("stop", "mini")
    }

    /// A readiness probe may print as much as it likes.
    @Test func aChattyProbe() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let probe =
            "probes:\n- description: chatty\n  script: |\n    #!/bin/sh\n"
            + "    yes 0123456789 | head -c 6000000; yes abc | head -c 2000000 >&2; exit 0\n"
        try TextFile.replace(yaml, with: try TextFile.read(yaml) + probe)
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        try await home.succeeds("stop", "mini")
    }

    /// A probe hangs. The start says which one, and with what help, and leaves nothing behind.
    @Test func aProbeThatNeverEnds() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let probe = """
            probes:
            - description: endless
              hint: Look at /var/log/endless.log in the guest.
              script: |
                #!/bin/sh
                touch /tmp/began
                exec sleep 100000

            """
        let began = ContinuousClock.now
        try await home.succeeds("start", "mini")
        // Long enough for a start that gets as far as the probe.
        let limit = began.duration(to: .now) * 3 + .seconds(15)
        try await home.succeeds("stop", "mini")
        let text = try TextFile.read(yaml)
        try TextFile.replace(yaml, with: text + probe)
        let started = try await home.run(
            "start", "mini", "--foreground", "--timeout", String(limit.components.seconds))
        let isSaid =
            started.error.contains("the probe \"endless\" has not ended")
            && started.error.contains("Look at /var/log/endless.log")
        #expect(started.status == 1 && isSaid, "\(started)")
        let list = try await home.run("list", "--format", "{{.Status}} {{.Errors}}").output
        #expect(list.hasPrefix("Failed ") && list.contains("endless"), "\(list)")
        let left = try await Tool("pgrep", ["-f", home.path + "/"]).run()
        #expect(left.output == "", "\(left)")
        // The configuration is mended, and the guest starts.
        try TextFile.replace(yaml, with: text)
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
    }

    /// A person stops an instance whose start has just failed and is being cleaned up.
    @Test func aStopWhileAFailedStartIsCleanedUp() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "stopGrace: 60s\n")
        let yaml = home.directory("mini") + "/lima.yaml"
        try TextFile.replace(yaml, with: try TextFile.read(yaml) + "probes:\n- script: exit 1\n")
        var environment = ProcessInfo.processInfo.environment
        environment["LIMA_HOME"] = home.path
        let agent = DetachedProcess(
            executable: Checkout.binary, arguments: ["start", "mini", "--foreground", "--timeout", "15"],
            environment: environment, output: .null, error: .null)
        let identity = try #require(ProcessIdentity.of(pid: try agent.spawn()))
        let isCleaningUp = await eventually(within: 60) {
            (try? home.events("mini").contains { $0.kind == "stop-step" }) ?? false
        }
        #expect(isCleaningUp)
        identity.signal(15)
        #expect(await identity.waitUntilEnded() == .exited(status: 3))
    }

    /// Each removal of the socket's name once left an additional listener.
    @Test func aSocketThatIsRemovedAgainAndAgain() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home)
        let socket = home.directory("mini") + "/ha.sock"
        for round in 1...10 {
            try Files.remove(socket)
            // Every third time, both names of the socket are removed.
            if round % 3 == 0 { try Files.remove(home.directory("mini") + "/.ha.sock") }
            let isBack = await eventually(within: 20) { (try? await Self.info(home))?.run == before.run }
            #expect(isBack, "round \(round)")
        }
        let listeners = try await Tool("ss", ["-xlpH"]).run().output.split(separator: "\n").filter {
            $0.contains("pid=\(before.agentPID),")
        }
        #expect(listeners.count == 1, "\(listeners)")
        try await home.succeeds("stop", "mini")
    }

    @Test func logsAndRecordsThatAreRemovedComeBack() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home)
        let files = ["ha.stdout.log", "guest.json", "qemu.pid", "ha.pid", "ssh.config"]
        for file in files { try Files.remove(home.directory("mini") + "/" + file) }
        let areBack = await eventually(within: 20) {
            files.allSatisfy { Files.kind(home.directory("mini") + "/" + $0) == .regular }
        }
        #expect(areBack)
        let events = try await home.run("events", "mini")
        #expect(events.succeeded && events.output.contains("\"kind\":\"guest-ready\""), "\(events)")
        let agent = try #require(ProcessIdentity.of(pid: before.agentPID))
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        try await home.succeeds("start", "mini")
        #expect(try await Self.info(home).guestPID == before.guestPID)
        try await home.succeeds("stop", "mini")
    }

    /// A guest that refused the login of its new agent becomes healthy again once it accepts logins.
    @Test func aDegradedGuestHeals() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home)
        let hang = "(sleep 0.2; killall -STOP dropbear; sleep 85; killall -CONT dropbear) > /dev/null 2>&1 &"
        _ = try await home.run("shell", "mini", "sudo", "sh", "-c", hang)
        let configuration = home.directory("mini") + "/ssh.config"
        let hangs = try await eventually(within: 30) {
            try await Tool("timeout", ["2", "ssh", "-F", configuration, "lima-mini", "true"]).run().status == 124
        }
        #expect(hangs)
        let agent = try #require(ProcessIdentity.of(pid: before.agentPID))
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        async let started = home.run("start", "mini")
        let isDegraded = await eventually(within: 120) { (try? await Self.info(home))?.phase == .degraded }
        #expect(isDegraded)
        let isWell = await eventually(within: 120) { (try? await Self.info(home))?.phase == .running }
        #expect(isWell)
        #expect(try await Self.info(home).guestPID == before.guestPID)
        _ = try await started
        try await home.succeeds("stop", "mini")
    }

    @Test func aReloadOfAStoppedAgentSaysSoSoon() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let agent = try #require(ProcessIdentity.of(pid: try await Self.info(home).agentPID))
        agent.signal(19)
        let began = ContinuousClock.now
        let answer = try await home.run("reload", "mini")
        let took = ContinuousClock.now - began
        agent.signal(18)
        #expect(answer.status != 0 && answer.error.contains("does not answer"), "\(answer)")
        #expect(took < .seconds(10), "\(took)")
        try await home.succeeds("stop", "mini")
    }

    /// Some programs remove a file before they write it anew. The guest stays, and so it does for other bytes than text.
    @Test func aConfigurationThatIsAwayForAMoment() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let first = try await Self.info(home)
        let yaml = home.directory("mini") + "/lima.yaml"
        try Files.move(yaml, to: home.path + "/away")
        let away = try await home.run("reload", "mini")
        #expect(away.status == 65 && away.error.contains("has no lima.yaml"), "\(away)")
        try await Task.sleep(for: .seconds(2))
        try Files.move(home.path + "/away", to: yaml)
        #expect(try await home.run("reload", "mini").output == "nothing has changed\n")
        let second = try await Self.info(home)
        #expect(second.run == first.run && second.state == .running)

        try TextFile.replace(yaml, with: Array(try TextFile.read(yaml).utf8) + [0x23, 0xe9, 0x0a])
        let latin = try await home.run("edit", "mini", "--set", "cpus=2")
        #expect(latin.status == 65 && latin.error.contains("is not UTF-8 text"), "\(latin)")
        #expect(try TextFile.bytes(yaml, limit: 1 << 20).suffix(3) == [0x23, 0xe9, 0x0a], "nothing was changed")
        try await home.succeeds("stop", "mini")
    }

    @Test func filesAreCopiedByScpAndSftp() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let configuration = home.directory("mini") + "/ssh.config"
        try TextFile.replace(home.path + "/file", with: "content\n")
        #expect(
            try await Tool("scp", ["-q", "-F", configuration, home.path + "/file", "lima-mini:/tmp/f"]).run().succeeded)
        let get = try await Tool("sftp", ["-q", "-F", configuration, "-b", "-", "lima-mini"])
            .with(input: "get /tmp/f \(home.path)/back\n").run()
        #expect(get.succeeded, "\(get)")
        #expect(try TextFile.read(home.path + "/back") == "content\n")
        try await home.succeeds("stop", "mini")
    }

    /// Text from a guest never reaches a terminal as a control sequence.
    @Test func textOfAGuestOnATerminal() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let script = "printf 'evil\\033[2J\\302\\2331mC1\\a\\r' >&2; exit 3"
        try TextFile.replace(
            yaml,
            with: try TextFile.read(yaml) + "probes:\n- description: evil\n  script: |\n    #!/bin/sh\n    \(script)\n")
        // The failed start and the list are shown on a terminal of their own (pty(7)).
        let python = """
            import os, pty, sys
            def run(*argv):
                out = b""
                def read(fd):
                    nonlocal out
                    data = os.read(fd, 65536)
                    out += data
                    return data
                pty.spawn(argv, read)
                return out
            out = run(sys.argv[1], "start", "--timeout", "30", "mini") + run(sys.argv[1], "list")
            own = out.replace(b"\\r\\x1b[2K", b"").replace(b"\\r\\n", b"\\n")
            bad = [b for b in own.decode("utf-8", "replace") if (ord(b) < 32 and b != "\\n") or 127 <= ord(b) < 160]
            sys.stderr.write("evil seen: %s, bad: %r" % ("evil" in own.decode("utf-8", "replace"), bad))
            """
        let shown = try await Tool(
            "python3", ["-c", python, Checkout.binary], environment: ["LIMA_HOME": home.path]
        ).run()
        #expect(shown.error == "evil seen: True, bad: []", "\(shown)")
    }
}
