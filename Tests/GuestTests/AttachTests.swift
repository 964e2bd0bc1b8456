import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Guests that outlive their agents. The agents are started by hand.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct AttachTests {
    private static func info(_ home: borrowing TestHome, _ name: String) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory(name) + "/ha.sock").info()
    }

    @discardableResult
    private static func killAgent(_ info: AgentInfo) async throws -> ProcessIdentity {
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        return agent
    }

    @Test func aGuestWhoseAgentDiedIsSeenAndEnded() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let info = try await Self.info(home, "mini")
        let guest = try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
        let agent = try await Self.killAgent(info)
        #expect(guest.isAlive, "killing the agent does not touch the guest")
        #expect(
            try await home.run("list", "--format", "{{.Status}} {{.DriverPID}}").output == "Orphaned \(guest.pid)\n")
        // A new agent finds the guest, and the guest is not affected.
        let configuration = home.directory("mini") + "/ssh.config"
        let write = try await Tool("ssh", ["-F", configuration, "lima-mini", "echo there > /tmp/before"]).run()
        #expect(write.succeeded, "the guest is reached without an agent: \(write)")
        let attached = try await home.run("start", "mini")
        #expect(attached.succeeded, "\(attached)")
        let events = try home.events("mini")
        #expect(events.first?.kind == "attached" && events.first?.attached?.previousAgentPID == agent.pid)
        #expect(events.first?.attached?.previousRun == info.run)
        let after = try await Self.info(home, "mini")
        #expect(after.guestPID == guest.pid && after.sshLocalPort == info.sshLocalPort && after.run != info.run)
        let kept = try await home.run("shell", "mini", "cat", "/tmp/before")
        #expect(kept.output == "there\n", "\(kept)")
        try await Self.killAgent(after)

        // The agent finds it without the record too, because the socket names its listener.
        try Files.remove(home.directory("mini") + "/guest.json")
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Orphaned\n")
        try await home.succeeds("start", "mini")
        #expect(try await Self.info(home, "mini").guestPID == guest.pid)
        try await Self.killAgent(Self.info(home, "mini"))
        try await home.succeeds("stop", "mini")
        #expect(!guest.isAlive)
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
    }

    /// The log is gone, so no record shows whether the guest had been ready. Its SSH server shows it.
    @Test func aGuestWhoseStoryIsLost() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home, "mini")
        try await Self.killAgent(before)
        for file in ["ha.stdout.log", "guest.json", "ha.pid"] {
            try TextFile.replace(home.directory("mini") + "/" + file, with: "\u{0}{\"x\": [99999")
        }
        let started = try await home.run("start", "mini", "--timeout", "60")
        #expect(started.succeeded, "\(started)")
        #expect(try await Self.info(home, "mini").guestPID == before.guestPID)
        try await home.succeeds("stop", "mini")
    }

    /// The agent's lock becomes free only a moment after the signal. No command needs a second try because of that.
    @Test func aStopRightAfterItsAgentWasKilled() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        for arguments in [["stop", "mini"], ["stop", "--force", "mini"]] {
            try await home.succeeds("start", "mini")
            let agent = try #require(ProcessIdentity.of(pid: try await Self.info(home, "mini").agentPID))
            #expect(agent.signal(9))
            let stopped = try await home.tool(arguments).run()
            #expect(stopped.succeeded, "\(stopped)")
            // A file in the place of the socket does not get in the way either.
            try TextFile.replace(home.directory("mini") + "/ha.sock", with: "x")
        }
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
    }

    /// Removing the names of a guest's sockets does not make the guest unreachable.
    @Test func socketsThatWereRemoved() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home, "mini")
        let sockets = ["qmp.sock", "chan.sock"].map { home.directory("mini") + "/" + $0 }
        for socket in sockets { try Files.remove(socket) }
        let back = try await eventually(within: 10) {
            try sockets.allSatisfy { Files.kind($0) == .socket }
                && home.events("mini").contains { $0.message?.contains("was removed") == true }
        }
        #expect(back)
        try await Self.killAgent(before)
        for socket in sockets { try TextFile.replace(socket, with: "in the way") }
        for record in ["guest.json", "qemu.pid"] { try Files.remove(home.directory("mini") + "/" + record) }
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Orphaned\n")
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        #expect(try await Self.info(home, "mini").guestPID == before.guestPID)
        try await home.succeeds("shell", "mini", "true")
        try await home.succeeds("stop", "mini")
        #expect(try home.events("mini").contains { $0.step == .ask })
        #expect(try Files.names(in: home.directory("mini")).allSatisfy { !$0.hasSuffix(".sock") })
    }

    /// An agent that is killed while the shared SSH connection logs in leaves a master without a socket. The next agent does
    /// not end it, because a shell may be in it a moment later.
    @Test func aMasterThatStillLogsInIsWaitedFor() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let socket = home.directory("mini") + "/ssh.sock"
        #expect(await eventually(within: 30) { Files.kind(socket) == .socket })
        let check = ["-F", home.directory("mini") + "/ssh.config", "-O", "check", "lima-mini"]
        let master = try await Tool("ssh", check).run().error
        #expect(master.hasPrefix("Master running (pid="), "\(master)")
        try await Self.killAgent(Self.info(home, "mini"))
        // Without its name, it is like one that still logs in.
        try Files.move(socket, to: home.path + "/socket")
        try await home.succeeds("start", "mini")
        try await home.succeeds("shell", "mini", "true")
        try Files.move(home.path + "/socket", to: socket)
        #expect(try await Tool("ssh", check).run().error == master)
        try await home.succeeds("shell", "mini", "true")
        try await home.succeeds("stop", "mini")
    }

    /// When no name leads to a guest any more, the lock on its disk still reveals it.
    @Test func aGuestWithoutAName() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home, "mini")
        let guest = try #require(before.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
        try await Self.killAgent(before)
        for name in try Files.names(in: home.directory("mini"))
        where name.hasSuffix(".sock") || ["guest.json", "qemu.pid", "ha.pid"].contains(name) {
            try Files.remove(home.directory("mini") + "/" + name)
        }
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Orphaned\n")
        let started = try await home.run("start", "mini")
        #expect(
            started.status == 75 && started.error.contains("cannot attach to QEMU, process \(guest.pid)"), "\(started)")
        #expect(guest.isAlive)
        #expect(try await home.run("delete", "mini").status == 75)
        #expect(try await home.run("stop", "mini").status == 1)
        #expect(guest.isAlive)
        try await home.succeeds("stop", "--force", "mini")
        #expect(!guest.isAlive)
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
    }

    /// The agent is killed while its guest shuts down. A later `start` must end with a running guest.
    @Test func aGuestThatWasGoingWhenItsAgentDied() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let agent = try #require(ProcessIdentity.of(pid: try await Self.info(home, "mini").agentPID))
        #expect(agent.signal(15))
        // The event is written before the guest is asked; the guest's init says that it was.
        let asked = await eventually(within: 10) {
            TextFile.tail(home.directory("mini") + "/serial.log", count: 4096).contains("going down")
        }
        #expect(asked)
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        let started = try await home.run("start", "mini")
        #expect(started.succeeded && started.error.contains("starting it anew"), "\(started)")
        try await home.succeeds("shell", "mini", "true")
        try await home.succeeds("stop", "mini")
    }

    /// What the guest told an agent that died, it tells the next agent too.
    @Test func aWordThatADeadAgentHeard() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home, "mini")
        try await Self.killAgent(before)
        let log = home.directory("mini") + "/ha.stdout.log"
        let lines = try TextFile.read(log).split(separator: "\n").filter { !$0.contains("guest-ready") }
        try TextFile.replace(log, with: lines.joined(separator: "\n") + "\n")
        let started = try await home.run("start", "mini", "--timeout", "60")
        #expect(started.succeeded, "\(started)")
        #expect(try await Self.info(home, "mini").guestPID == before.guestPID)
        try await home.succeeds("stop", "mini")
        #expect(try home.events("mini").contains { $0.step == .ask })
    }

    /// A guest that accepts no login is kept, because it may be in use. The failure of a provisioning script stays
    /// recorded.
    @Test func aGuestThatLetsNobodyInIsNotEnded() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        try TextFile.replace(yaml, with: try TextFile.read(yaml) + "provision:\n- mode: system\n  script: exit 7\n")
        try await home.succeeds("start", "mini")
        let before = try await Self.info(home, "mini")
        #expect(before.state == .degraded)
        try await home.succeeds("upgrade", "mini")
        let after = try await Self.info(home, "mini")
        #expect(after.state == .degraded && after.errors.first?.contains("status 7") == true, "\(after)")

        _ = try await home.run("shell", "mini", "sudo", "sh", "-c", "(sleep 0.2; killall -STOP dropbear) &")
        try await Self.killAgent(after)
        // A time limit for the start does not apply to a guest that already runs.
        let started = try await home.run("start", "mini", "--timeout", "5")
        let now = try await Self.info(home, "mini")
        #expect(now.guestPID == before.guestPID && now.state != .stopping, "\(started)")
        let degraded = try await eventually(within: 120) { try await Self.info(home, "mini").phase == .degraded }
        #expect(degraded)
        try await home.succeeds("stop", "mini")
    }

    @Test func whatAGuestDidWhileNoAgentLivedIsLearned() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        for (command, status) in [("poweroff", 0), ("sh -c 'echo c > /proc/sysrq-trigger'", 1)] as [(String, Int32)] {
            try await home.succeeds("start", "mini")
            let info = try await Self.info(home, "mini")
            let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
            let guest = try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
            agent.signal(9)
            _ = await agent.waitUntilEnded()
            let configuration = home.directory("mini") + "/ssh.config"
            _ = try await Tool(
                "timeout", ["5", "ssh", "-F", configuration, "lima-mini", "sudo \(command) > /dev/null 2>&1 &"]
            ).run()
            // The guest takes two seconds to go down. Its QEMU process stays, so that an agent can query it.
            try await Task.sleep(for: .seconds(4))
            #expect(guest.isAlive, "\(command)")
            let run = try await home.run("start", "mini", "--foreground")
            #expect(run.status == status, "\(command): \(run)")
            #expect(!guest.isAlive)
            #expect(try home.events("mini").first?.kind == "attached")
        }
    }
}
