import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Guests that outlive their agents, of agents started by hand.
@Suite(.enabled(if: Checkout.canBootGuests), .timeLimit(.minutes(4)))
struct AttachTests {
    private static func info(_ home: borrowing TestHome, _ name: String) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory(name) + "/ha.sock").info()
    }

    @Test func aGuestWhoseAgentDiedIsSeenAndEnded() async throws {
        let home = try TestHome()
        #expect(try await home.run("create", "mini").succeeded)
        #expect(try await home.run("start", "mini").succeeded)
        let info = try await Self.info(home, "mini")
        let guest = try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        #expect(guest.isAlive, "killing the agent does not touch the guest")
        #expect(
            try await home.run("list", "--format", "{{.Status}} {{.DriverPID}}").output == "Orphaned \(guest.pid)\n")
        // A new agent finds it, and nothing happens to it.
        let configuration = home.directory("mini") + "/ssh.config"
        let write = try await Tool("ssh", ["-F", configuration, "lima-mini", "echo there > /tmp/before"]).run()
        #expect(write.succeeded, "the guest is reached without an agent: \(write)")
        let attached = try await home.run("start", "mini")
        #expect(attached.succeeded, "\(attached)")
        let events = try home.events("mini")
        #expect(events.first?.kind == "attached" && events.first?.payload?.previousAgentPID == agent.pid)
        #expect(events.first?.payload?.previousRun == info.run)
        let after = try await Self.info(home, "mini")
        #expect(after.guestPID == guest.pid && after.sshLocalPort == info.sshLocalPort && after.run != info.run)
        #expect(try await home.run("shell", "mini", "cat", "/tmp/before").output == "there\n")
        let second = try #require(ProcessIdentity.of(pid: after.agentPID))
        second.signal(9)
        _ = await second.waitUntilEnded()

        // Also without the record: the socket names its listener.
        try Files.remove(home.directory("mini") + "/guest.json")
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Orphaned\n")
        #expect(try await home.run("start", "mini").succeeded)
        #expect(try await Self.info(home, "mini").guestPID == guest.pid)
        let third = try #require(ProcessIdentity.of(pid: try await Self.info(home, "mini").agentPID))
        third.signal(9)
        _ = await third.waitUntilEnded()
        #expect(try await home.run("stop", "mini").succeeded)
        #expect(!guest.isAlive)
        #expect(try await home.run("start", "mini").succeeded)
        #expect(try await home.run("stop", "mini").succeeded)
    }

    /// Its log is gone, and nothing tells whether the guest had been ready: its SSH server does.
    @Test func aGuestWhoseStoryIsLost() async throws {
        let home = try TestHome()
        #expect(try await home.run("create", "mini").succeeded)
        #expect(try await home.run("start", "mini").succeeded)
        let before = try await Self.info(home, "mini")
        let agent = try #require(ProcessIdentity.of(pid: before.agentPID))
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        for file in ["ha.stdout.log", "guest.json", "ha.pid"] {
            try TextFile.replace(home.directory("mini") + "/" + file, with: "\u{0}{\"x\": [99999")
        }
        let started = try await home.run("start", "mini", "--timeout", "60")
        #expect(started.succeeded, "\(started)")
        #expect(try await Self.info(home, "mini").guestPID == before.guestPID)
        #expect(try await home.run("stop", "mini").succeeded)
    }

    @Test func whatAGuestDidWhileNoAgentLivedIsLearned() async throws {
        let home = try TestHome()
        #expect(try await home.run("create", "mini").succeeded)
        for (command, status) in [("poweroff", 0), ("sh -c 'echo c > /proc/sysrq-trigger'", 1)] as [(String, Int32)] {
            #expect(try await home.run("start", "mini").succeeded)
            let info = try await Self.info(home, "mini")
            let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
            let guest = try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
            agent.signal(9)
            _ = await agent.waitUntilEnded()
            let configuration = home.directory("mini") + "/ssh.config"
            _ = try await Tool(
                "timeout", ["5", "ssh", "-F", configuration, "lima-mini", "sudo \(command) > /dev/null 2>&1 &"]
            ).run()
            // The guest takes two seconds to go down; its process stays, to be asked.
            try await Task.sleep(for: .seconds(4))
            #expect(guest.isAlive, "\(command)")
            let run = try await home.run("start", "mini", "--foreground")
            #expect(run.status == status, "\(command): \(run)")
            #expect(!guest.isAlive)
            #expect(try home.events("mini").first?.kind == "attached")
        }
    }
}
