import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Changes under a running guest: the agent itself, its configuration, the host's clock.
@Suite(.serialized, .enabled(if: Checkout.canBootGuests), .guestSlot)
struct UpgradeTests {
    private func info(_ home: borrowing TestHome) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
    }

    /// Makes a copy of the program that the test can replace, and returns its path.
    private func ownBinary(_ home: borrowing TestHome) async throws -> String {
        let binary = home.path + "/_hostagent"
        #expect(try await Tool("cp", [Checkout.binary, binary]).run().succeeded)
        return binary
    }

    @Test func theAgentIsReplacedAndTheGuestRunsOn() async throws {
        let home = try TestHome()
        let binary = try await ownBinary(home)
        let variables = home.tool([]).environment
        func run(_ arguments: String...) async throws -> Tool.Result {
            try await Tool(binary, arguments, environment: variables).run()
        }
        #expect(try await run("create", "mini").succeeded)
        let before = try await home.run("upgrade", "mini")
        #expect(before.status == 69, "\(before)")
        #expect(try await run("start", "mini").succeeded)
        let first = try await info(home)
        // A follower of the events also sees the events of the new run.
        let follow = home.tool(["events", "--follow", "mini"])
        let follower = Task { try await follow.run() }

        // A file that is not a hostagent is refused, and nothing changes.
        try Files.move(binary, to: binary + ".old")
        try TextFile.replace(binary, with: "#!/bin/sh\necho broken >&2\nexit 1\n", mode: 0o700)
        let refused = try await home.run("upgrade", "mini")
        #expect(refused.status == 1 && refused.error.contains("is not a working hostagent: broken"), "\(refused)")
        #expect(try await info(home).run == first.run)

        // The new program could not begin with this configuration.
        try Files.remove(binary)
        #expect(try await Tool("cp", [binary + ".old", binary]).run().succeeded)
        let yaml = home.directory("mini") + "/lima.yaml"
        let text = try TextFile.read(yaml)
        try TextFile.replace(yaml, with: text + "nonsense: 1\n")
        let mistaken = try await home.run("upgrade", "mini")
        #expect(mistaken.status == 1 && mistaken.error.contains("nonsense: unknown key"), "\(mistaken)")
        try TextFile.replace(yaml, with: text)

        // A stop that arrives while the new program is being asked is not lost. This program answers too slowly, so the
        // stop wins.
        try Files.remove(binary)
        try TextFile.replace(binary, with: "#!/bin/sh\nsleep 3\nexec \(binary).old \"$@\"\n", mode: 0o700)
        let slow = try #require(ProcessIdentity.of(pid: first.agentPID))
        #expect(slow.signal(12))
        try await Task.sleep(for: .milliseconds(500))
        #expect(slow.signal(15))
        let stopped = await eventually(within: 20) { !slow.isAlive }
        #expect(stopped)
        #expect(try home.events("mini").last?.exitStatus == 3)
        #expect(try await follower.value.output.contains(#""exiting":true"#))
        try Files.remove(binary)
        #expect(try await Tool("cp", [binary + ".old", binary]).run().succeeded)
        #expect(try await run("start", "mini").succeeded)
        let again = try await info(home)
        let guest = try #require(again.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
        let nextFollower = Task { try await follow.run() }

        // The new program has the path of the old one.
        let upgraded = try await home.run("upgrade", "mini")
        #expect(upgraded.succeeded && upgraded.output.contains("ran on"), "\(upgraded)")
        let second = try await info(home)
        #expect(second.run != again.run && second.agentPID == again.agentPID && second.guestPID == again.guestPID)
        #expect(second.state == .running && guest.isAlive)
        let attached = try #require(try home.events("mini").first)
        #expect(attached.kind == "attached" && attached.attached?.previousRun == again.run)
        let running = try TextFile.read("/proc/\(second.agentPID)/maps").contains(binary)
        #expect(running)
        let held = try await home.run("start", "--foreground", "mini")
        #expect(held.status == 75, "the lock is still held: \(held)")

        let descriptorsBefore = try Files.names(in: "/proc/\(second.agentPID)/fd").count
        // The upgrade is requested by a signal, twice in a row.
        let agent = try #require(ProcessIdentity.of(pid: second.agentPID))
        var run2 = second.run
        for _ in 0..<2 {
            #expect(agent.signal(12))
            let next = await eventually(within: 20) {
                guard let now = try? await info(home) else { return false }
                return now.run != run2 && now.state == .running
            }
            #expect(next)
            run2 = try await info(home).run
        }
        // No descriptor of the earlier programs is left over.
        // A connection that is just being closed counts for a moment.
        let areGone = try await eventually(within: 10) {
            try Files.names(in: "/proc/\(agent.pid)/fd").count <= descriptorsBefore
        }
        #expect(areGone, "more descriptors than \(descriptorsBefore)")
        try await home.succeeds("shell", "mini", "true")

        // Signals that were blocked during the upgrade are handled again.
        #expect(agent.signal(15))
        let ended = await eventually(within: 20) { !agent.isAlive && !guest.isAlive }
        #expect(ended)
        #expect(try home.events("mini").last?.exitStatus == 3)
        let followed = try await nextFollower.value.output
        for run in [again.run, second.run, run2] { #expect(followed.contains(run), "\(run)") }
        #expect(followed.contains(#""exiting":true"#))
    }

    /// Whenever a signal arrives, it is not lost, and it does not end an agent that is just becoming another program.
    @Test func signalsInTheMiddleOfAnUpgrade() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let agent = try #require(ProcessIdentity.of(pid: try await info(home).agentPID))
        for milliseconds in stride(from: 5, through: 95, by: 10) {
            for signal in [1, 12] as [Int32] {
                #expect(agent.signal(12))
                try await Task.sleep(for: .milliseconds(milliseconds))
                agent.signal(signal)
                // While the process executes another program, its first thread is dead for a moment, and the process
                // looks dead too.
                let isWell = await eventually(within: 20) {
                    let state = (try? await info(home))?.state
                    return state == .running && agent.isAlive
                }
                #expect(isWell, "signal \(signal) after \(milliseconds) ms")
                if !isWell { return }
            }
        }
        #expect(agent.signal(12))
        try await Task.sleep(for: .milliseconds(40))
        #expect(agent.signal(15))
        let ended = await eventually(within: 20) { !agent.isAlive }
        #expect(ended)
        #expect(try home.events("mini").last?.exitStatus == 3, "a stop, not a death")
    }

    @Test func aConfigurationThatIsReadAgain() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let original = try TextFile.read(yaml)
        let (one, two) = (try LoopbackPort.free(), try LoopbackPort.free())
        func forwards(_ ports: [Int]) -> String {
            original + "portForwards:\n" + ports.map { "- {guestPort: 8000, hostPort: \($0)}\n" }.joined()
        }
        try TextFile.replace(yaml, with: forwards([one]))
        try await home.succeeds("start", "mini")
        let served = try await home.run(
            "shell", "mini", "sh", "-c", "mkdir /tmp/w && echo hello > /tmp/w/index.html && httpd -p 8000 -h /tmp/w")
        #expect(served.succeeded, "\(served)")
        func answers(_ port: Int) async throws -> Bool {
            try await Tool("curl", ["-sf", "-m", "5", "http://127.0.0.1:\(port)/"]).run().output == "hello\n"
        }
        #expect(try await eventually(within: 10) { try await answers(one) })
        #expect(try await info(home).pending == [])

        // Changes that can be applied are applied. The others are pending, also those of the file for all instances.
        try TextFile.replace(home.path + "/_config/default.yaml", with: "cpus: 7\nenv: {A: b}\n")
        try TextFile.replace(yaml, with: forwards([two]).replacing("cpus: 1", with: "cpus: 2"))
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "stopGrace: 7s\neventLogLimit: 1MiB\n")
        let reloaded = try await home.run("reload", "mini")
        #expect(
            reloaded.output
                == "applied: portForwards, stopGrace\npending until hostagent restart mini: cpus, env, eventLogLimit\n",
            "\(reloaded)")
        #expect(try await answers(two))
        #expect(try await !answers(one))
        let waiting = ["cpus", "env", "eventLogLimit"].map { PendingChange(key: $0, until: .restart) }
        #expect(try await info(home).pending == waiting)
        let states = try home.events("mini").compactMap { $0.status.portForward?.type }
        #expect(states == ["forwarding", "stopping", "forwarding"])

        // What waits for a start of the guest is still pending for an agent that attaches. Forwards live in the guest's
        // machine.
        let agent = try #require(ProcessIdentity.of(pid: try await info(home).agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        #expect(try await answers(two), "no agent, and the forward is there")
        let attached = try await home.run("start", "mini")
        #expect(attached.succeeded, "\(attached)")
        #expect(try await info(home).pending == ["cpus", "env"].map { PendingChange(key: $0, until: .restart) })
        #expect(try await answers(two))

        // An invalid configuration changes nothing, whether the reload comes by command, socket or signal.
        try TextFile.replace(yaml, with: forwards([one]) + "- {guestPort: 8001, hostPort: \(one)}\n")
        let mistake = try await home.run("reload", "mini")
        #expect(mistake.status == 65 && mistake.error.contains("is forwarded twice"), "\(mistake)")
        let next = try #require(ProcessIdentity.of(pid: try await info(home).agentPID))
        #expect(next.signal(1))
        let said = try await eventually(within: 10) {
            try home.events("mini").contains { $0.message?.contains("was not read again") == true }
        }
        #expect(said)
        #expect(try await answers(two))

        // A port that is taken affects only that port.
        let taken = try #require(try await info(home).sshLocalPort)
        try TextFile.replace(yaml, with: forwards([two]) + "- {guestPort: 8001, hostPort: \(taken), static: true}\n")
        let partly = try await home.run("reload", "mini")
        #expect(partly.succeeded && partly.error.contains("to the guest's 127.0.0.1:8001: "), "\(partly)")
        #expect(!partly.output.contains("applied: portForwards"), "what is refused is not in effect: \(partly)")
        #expect(try await answers(two))
        try await home.succeeds("stop", "mini")
    }

    /// The kernel reports every setting of the clock, even to the same time. It reports the end of a suspend in the
    /// same way.
    @Test(.enabled(if: HostProcess.uid == 0)) func theGuestHasTheHostsTime() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        // It also works when the agent is not the one under which the guest booted.
        let first = try await info(home)
        try await home.succeeds("upgrade", "mini")
        #expect(try await info(home).run != first.run)
        let wrong = try await home.run("shell", "mini", "sudo", "sh", "-c", "date -u -s @1000000000")
        #expect(wrong.output.contains("2001"), "\(wrong)")
        #expect(try await Tool("sh", ["-c", "date -s @$(date +%s.%N)"]).run().succeeded)
        let began = ContinuousClock.now
        let right = try await eventually(within: 10) {
            let said = try await home.run("shell", "mini", "date", "+%s").output.trimmed
            // The tolerance covers whole seconds and the time that the answer takes.
            return abs((Double(said) ?? 0) + 0.5 - HostClock.now) < 1.2
        }
        #expect(right)
        #expect(ContinuousClock.now - began < .seconds(5), "one login, not a heartbeat")
        #expect(try home.events("mini").contains { $0.kind == "guest-clock-set" })
        try await home.succeeds("stop", "mini")
    }

    @Test(.enabled(if: HostProcess.uid == 0)) func aWayIntoTheGuestThatIsGoneIsMadeAnew() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let port = try LoopbackPort.free()
        let yaml = home.directory("mini") + "/lima.yaml"
        let text = try TextFile.read(yaml) + "portForwards: [{guestPort: 8000, hostPort: \(port)}]\n"
        try TextFile.replace(yaml, with: text)
        try await home.succeeds("start", "mini")
        let served = try await home.run(
            "shell", "mini", "sh", "-c", "mkdir /tmp/w && echo hello > /tmp/w/index.html && httpd -p 8000 -h /tmp/w")
        #expect(served.succeeded, "\(served)")
        let isForwarded = try await eventually(within: 10) {
            try home.events("mini").contains { $0.status.portForward?.type == "forwarding" }
        }
        #expect(isForwarded)
        let sshPort = try #require(try await info(home).sshLocalPort)
        // QEMU still lists the ports that the kernel has closed without its knowledge.
        for gone in [port, sshPort] {
            let killed = try await Tool("ss", ["--kill", "--listening", "--tcp", "sport = :\(gone)"]).run()
            #expect(killed.succeeded, "\(killed)")
            #expect(try await Tool("ss", ["-Hltn", "sport = :\(gone)"]).run().output == "")
        }
        // The shared connection is there still; a new one is not possible.
        let login = Tool(
            "ssh", ["-F", home.directory("mini") + "/ssh.config", "-o", "ControlPath=none", "lima-mini", "true"])
        #expect(try await login.run().status == 255)
        #expect(try await Tool("sh", ["-c", "date -s @$(date +%s.%N)"]).run().succeeded)
        let isBack = try await eventually(within: 20) {
            guard try await login.run().succeeded else { return false }
            return try await Tool("curl", ["-sf", "-m", "5", "http://127.0.0.1:\(port)/"]).run().output == "hello\n"
        }
        #expect(isBack)
        let said = try home.events("mini").filter { $0.message?.contains("it is opened again") == true }
        #expect(said.count == 2)

        // An agent that attaches opens them again too.
        let killed = try await Tool("ss", ["--kill", "--listening", "--tcp", "sport = :\(sshPort)"]).run()
        #expect(killed.succeeded, "\(killed)")
        let agent = try #require(ProcessIdentity.of(pid: try await info(home).agentPID))
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        // The configuration of that agent names a port that is taken. This is reported, and it affects only that port.
        try TextFile.replace(yaml, with: text.replacing("hostPort: \(port)", with: "hostPort: \(sshPort)"))
        let attached = try await home.run("start", "mini")
        #expect(attached.succeeded, "\(attached)")
        // The guest tells what it listens on right after the agent has attached.
        let isReported = try await eventually(within: 10) {
            try home.events("mini").contains { $0.status.portForward?.type == "failed" }
        }
        #expect(isReported)
        #expect(try await info(home).state == .running)
        try await home.succeeds("stop", "mini")
    }
}
