import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Processes that live but do not answer. Each has a deadline, a message and a way out.
/// These tests mostly wait, so they do not take a guest slot.
@Suite(.enabled(if: Checkout.canBootGuests), .timeLimit(.minutes(15)))
struct HungTests {
    private static let sigstop: Int32 = 19
    private static let sigcont: Int32 = 18

    /// Starts an instance and returns the processes of its agent and its guest.
    private func start(
        _ home: borrowing TestHome
    ) async throws -> (agent: ProcessIdentity, guest: ProcessIdentity) {
        try await home.succeeds("create", "mini")
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        return (
            try #require(ProcessIdentity.of(pid: info.agentPID)),
            try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
        )
    }

    private func status(_ home: borrowing TestHome) async throws -> String {
        try await home.run("list", "--format", "{{.Status}}").output.trimmed
    }

    @Test func aHungQEMUIsDegradedThenLost() async throws {
        let home = try TestHome()
        let (agent, guest) = try await start(home)
        #expect(guest.signal(Self.sigstop))
        let degraded = try await eventually(within: 60) { try await status(home) == "Degraded" }
        #expect(degraded)
        #expect(guest.signal(Self.sigcont))
        let recovered = try await eventually(within: 30) { try await status(home) == "Running" }
        #expect(recovered)
        #expect(try home.events("mini").contains { $0.kind == "guest-responsive" })

        // A guest that does not answer for a minute is ended by the agent, which knows the process that it kills.
        #expect(guest.signal(Self.sigstop))
        let ended = await eventually(within: 120) { !agent.isAlive }
        #expect(ended && !guest.isAlive)
        let events = try home.events("mini")
        #expect(events.last?.exitStatus == 1)
        #expect(events.contains { $0.kind == "failure" && $0.message?.contains("did not answer") == true })
        #expect(try await status(home) == "Failed")
    }

    @Test func aHungAgentIsSaidAndCanBeEnded() async throws {
        let home = try TestHome()
        let (agent, guest) = try await start(home)
        #expect(agent.signal(Self.sigstop))
        let list = try await home.run("list")
        #expect(list.output.contains("Degraded") && list.output.contains("    "), "\(list)")
        let polite = try await home.run("stop", "mini")
        #expect(polite.status == 75 && polite.error.contains("does not answer"), "\(polite)")
        #expect(guest.isAlive)
        let forced = try await home.run("stop", "--force", "mini")
        #expect(forced.succeeded, "\(forced)")
        #expect(!agent.isAlive && !guest.isAlive)
        let after = try await status(home)
        #expect(["Stopped", "Failed"].contains(after), "\(after)")
    }

    /// This was seen once in some hundred boots under software emulation: QEMU answers, but its guest does nothing any
    /// more.
    @Test func aGuestThatHangsWhileItBootsIsBootedAgain() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "stopGrace: 4s\n")
        // A kernel uses the last of two archives. This init does nothing and reacts to nothing.
        let initrd = home.directory("mini") + "/initrd"
        let script = """
            set -e; cp "$1" "$1.good"; cd "$2"
            printf '#!/bin/sh\\nwhile :; do sleep 1000; done\\n' > init; chmod 755 init
            echo init | cpio --quiet -o -H newc >> "$1"
            """
        let work = try Scratch()
        let made = try await Tool("sh", ["-c", script, "sh", initrd, work.path]).run()
        #expect(made.succeeded, "\(made)")
        async let starting = home.tool(["start", "mini"]).run()
        let spawned = await eventually(within: 60) {
            ((try? home.events("mini")) ?? []).contains { $0.phase == .booting }
        }
        #expect(spawned)
        try Files.move(initrd + ".good", to: initrd)
        let started = try await starting
        #expect(started.succeeded, "\(started)")
        #expect(try await status(home) == "Running")
        let events = try home.events("mini")
        #expect(events.contains { $0.message?.contains("it is booted again") == true })
        #expect(events.compactMap { $0.step } == [.ask, .askAgain, .quit])
        try await home.succeeds("stop", "mini")
    }

    @Test func anOrphanThatDoesNotAnswerIsNotShotUnasked() async throws {
        let home = try TestHome()
        let (agent, guest) = try await start(home)
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        #expect(guest.signal(Self.sigstop))
        let polite = try await home.run("stop", "mini")
        #expect(polite.status == 1 && polite.error.contains("--force"), "\(polite)")
        #expect(guest.isAlive)
        try await home.succeeds("stop", "--force", "mini")
        #expect(!guest.isAlive)
    }
}
