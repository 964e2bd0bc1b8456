import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// A guest whose network is passt.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct PasstTests {
    private func passt(_ home: borrowing TestHome) throws -> [ProcessIdentity] {
        struct Record: Decodable {
            struct Helper: Decodable { var process: ProcessIdentity }
            var helpers: [Helper]
        }
        let text = try TextFile.read(home.directory("mini") + "/guest.json")
        return try JSONDecoder().decode(Record.self, from: Data(text.utf8)).helpers.map(\.process)
    }

    private func status(_ home: borrowing TestHome) async throws -> String {
        try await home.run("list", "--format", "{{.Status}}").output
    }

    @Test func aNetworkBesideTheMachine() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "network: passt\n")
        try await home.succeeds("start", "mini")
        #expect(try await inGuest("ip -4 -o addr show dev eth0", of: home).contains("192.168.5.15/24"))
        let port = try LoopbackPort.free()
        _ = try await inGuest("mkdir /tmp/w; echo word > /tmp/w/index.html; httpd -p \(port) -h /tmp/w", of: home)
        let get = Tool("curl", ["-s", "-m", "5", "http://127.0.0.1:\(port)/"])
        #expect(try await eventually(within: 10) { try await get.run().output == "word\n" })

        // What it cannot do is said.
        let yaml = home.directory("mini") + "/lima.yaml"
        let before = try TextFile.read(yaml)
        try TextFile.replace(
            yaml, with: before + "portForwards: [{guestPort: 53, hostPort: \(port + 1), proto: udp}]\n")
        #expect(try await home.run("reload", "mini").error.contains("passt opens a port only when it starts"))
        try TextFile.replace(yaml, with: before)
        try await home.succeeds("reload", "mini")

        // It outlives the agent, and so does what leads through it. The next agent finds both, even without the record.
        let first = try passt(home)
        #expect(first.count == 1 && first[0].isAlive)
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        #expect(try await get.run().output == "word\n")
        let record = try TextFile.read(home.directory("mini") + "/guest.json")
        try Files.remove(home.directory("mini") + "/guest.json")
        try await home.succeeds("start", "mini")
        #expect(try await eventually(within: 10) { try await status(home) == "Running\n" })
        let other = try #require(
            ProcessIdentity.of(pid: try await AgentClient(socket: home.directory("mini") + "/ha.sock").info().agentPID))
        #expect(other.signal(9))
        _ = await other.waitUntilEnded()
        try TextFile.replace(home.directory("mini") + "/guest.json", with: record)
        try await home.succeeds("start", "mini")
        #expect(try await eventually(within: 10) { try await get.run().output == "word\n" })
        #expect(try passt(home) == first)

        // The guest boots again.
        _ = try await inGuest("(sleep 0.5; reboot) > /dev/null 2>&1 &", of: home)
        #expect(try await eventually(within: 60) { try home.events("mini").contains { $0.kind == "guest-rebooted" } })
        #expect(try await eventually(within: 60) { try await status(home) == "Running\n" })
        #expect(try await inGuest("hostname", of: home).contains("mini"))

        // QEMU connects again since its version 8.0.
        #expect(first[0].signal(9))
        #expect(
            try await eventually(within: 10) { try await status(home) == "Degraded\n" || (try passt(home)) != first })
        let version = try await Tool("qemu-system-x86_64", ["--version"]).run().output
        if version.contains("version 7.") {
            let errors = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info().errors
            #expect(errors.contains { $0.contains("passt has ended") && $0.contains("restart the guest") }, "\(errors)")
            try await home.succeeds("restart", "--force", "mini")
        }
        #expect(try await eventually(within: 30) { try await status(home) == "Running\n" })
        let last = try passt(home)
        #expect(last != first)
        #expect(try await inGuest("hostname", of: home).contains("mini"))
        try await home.succeeds("stop", "mini")
        #expect(await eventually(within: 5) { !last.contains(where: \.isAlive) })
        #expect(Files.kind(home.directory("mini") + "/net.sock") == nil)
    }

    @Test func aHostWithoutPasst() async throws {
        let home = try TestHome()
        let tools = home.path + "/_tools"
        try Files.makeDirectory(tools)
        for tool in ["qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen", "genisoimage", "getent"] {
            if let path = Tool.path(of: tool, in: "/usr/bin:/bin") { #expect(symlink(path, tools + "/" + tool) == 0) }
        }
        try await home.succeeds("create", "mini")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "network: passt\n")
        let start = try await home.run("start", "mini", environment: ["PATH": tools])
        #expect(start.status == 69 && start.error.contains("no passt in PATH"), "\(start)")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "network: slirp\n")
        let typo = try await home.run("start", "mini")
        #expect(typo.status == 65 && typo.error.contains("network"), "\(typo)")
    }
}
