import AgentAPI
import Foundation
import HostModel
import Testing

@Suite struct EventRecordTests {
    private func record(_ event: AgentEvent, phase: Phase, errors: [String] = []) -> EventRecord {
        var standing = EventRecord.Standing()
        standing.errors = errors
        standing.sshLocalPort = 60022
        return EventRecord(
            event, run: "r", seq: 3, phase: phase, standing: standing, elapsed: 1.23456,
            time: Date(timeIntervalSince1970: 0.5))
    }

    @Test func theLine() {
        #expect(
            record(.phaseChanged(.running), phase: .running).line
                == #"{"elapsed":1.235,"kind":"phase","phase":"running","run":"r","seq":3,"status":{"running":true,"sshLocalPort":60022},"time":"1970-01-01T00:00:00.500Z"}"#
                + "\n")
    }

    /// Lima's watchers read only `status`.
    @Test func stateStandsInEveryEventAndHappeningsOnlyInTheirs() {
        let log = record(.guestLog(line: "x"), phase: .provisioning)
        #expect(log.status.cloudInitProgress == .init(logLine: "x", active: true))
        #expect(log.status.running == nil)
        let later = record(.guestSpawned(pid: 1, accelerator: .tcg), phase: .degraded, errors: ["e"])
        #expect(later.status.cloudInitProgress == nil)
        #expect(later.status.running == true && later.status.degraded == true && later.status.errors == ["e"])
        let last = record(.exiting(status: 3), phase: .stopped)
        #expect(last.status.exiting == true && last.status.running == nil)
    }

    private static let mount = Mount(location: "/a\n", mountPoint: "/b", isWritable: true)

    @Test func everyEventComesBackAsItWent() {
        let events: [AgentEvent] = [
            .phaseChanged(.booting), .guestSpawned(pid: 5, accelerator: .kvm), .guestRebooted, .guestLog(line: "l\"\n"),
            .guestReady, .accessConfirmed(milliseconds: 180), .provisioningFailed(mode: "m", script: "s", status: -1),
            .stopRequested(by: "SIGTERM", force: true), .stopStep(.askAgain), .guestEnded(step: .kill, seconds: 1.5),
            .guestUnresponsive(seconds: 10), .guestResponsive, .warning("w"), .failure("f"), .exiting(status: 1),
            .portForward(
                .network(.init(.udp, hostAddress: "0.0.0.0", hostPort: 1, guestPort: 2)), .failed(reason: "r")),
            .portForward(.connection(.init(host: "/h", guest: "127.0.0.1:1")), .forwarding),
            .mount(Self.mount, .mounted(.reverseSSHFS)), .mount(Self.mount, .lost(reason: "r")),
            .mount(Self.mount, .removed),
            .mount(Self.mount, .failed(reason: "r")),
            .guestClockSet(reason: "r"), .reloaded(applied: ["a"], pending: ["b"]), .upgrading(version: "2"),
        ]
        for event in events {
            let sent = record(event, phase: .stopping)
            #expect(!sent.line.dropLast().contains("\n"))
            #expect(EventRecord(line: sent.line.utf8) == sent)
        }
    }

    @Test(arguments: ["", "x", "{}", "[]", "{\"seq\": 1}"])
    func whatIsNoEvent(_ line: String) { #expect(EventRecord(line: line.utf8) == nil) }
}

@Suite struct AgentInfoTests {
    private func json(_ origin: LaunchOrigin) throws -> [String: Any] {
        let info = AgentInfo(
            instance: try InstanceName("a"), dir: "/h/a", driver: "qemu", phase: .running, errors: [], sshLocalPort: 1,
            agentPID: 2,
            guestPID: 3, version: "v", run: "r", startedAt: "t", readyAt: nil, accelerator: .tcg,
            pending: [.init(key: "cpus", until: .restart)], configuration: .init(loaded: "d", startedWith: nil),
            capabilities: .init(canSuspend: .no(because: "r"), outlivesAgent: .yes), origin: origin)
        let data = try JSONEncoder().encode(info)
        return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    @Test func aManagersAgentNamesItsUnit() throws {
        let info = try json(.manager(kind: .systemd, scope: .user, identifier: "lima-vm@a.service"))
        #expect(info["autoStartedIdentifier"] as? String == "lima-vm@a.service")
        #expect((info["manager"] as? [String: Any])?["scope"] as? String == "user")
        #expect(info["enclosingUnit"] == nil)
        let capabilities = try #require(info["capabilities"] as? [String: [String: Any]])
        #expect(capabilities["canSuspend"]?["because"] as? String == "r")
        #expect(capabilities["outlivesAgent"]?["able"] as? Bool == true)
    }

    @Test func aPersonsAgentHasNoIdentifierAtAll() throws {
        let info = try json(.person(enclosingUnit: "session-2.scope"))
        #expect(info["autoStartedIdentifier"] == nil)
        #expect(info["enclosingUnit"] as? String == "session-2.scope")
        #expect((info["manager"] as? [String: Any])?["kind"] as? String == "none")
    }
}
