import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// The ports that a guest listens on, seen from the host.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct PortTests {
    /// Serves the word over HTTP in the guest.
    /// - Parameter address: `PORT` for all addresses, or `ADDRESS:PORT`.
    private func serve(_ word: String, on address: String, in home: borrowing TestHome) async throws {
        let script =
            "mkdir -p /tmp/\(word) && echo \(word) > /tmp/\(word)/index.html && httpd -p \(address) -h /tmp/\(word)"
        try await inGuest(script, of: home)
    }

    /// Runs a script in the guest, which may have no agent.
    @discardableResult
    private func inGuest(_ script: String, of home: borrowing TestHome) async throws -> String {
        let ssh = Tool("ssh", ["-F", home.directory("mini") + "/ssh.config", "lima-mini", "sudo sh"], input: script)
        let result = try await ssh.run()
        #expect(result.succeeded, "\(result)")
        return result.output
    }

    /// How often the process that waits for changes in the guest has slept.
    private func sleeps(_ home: borrowing TestHome) async throws -> String {
        try await inGuest(
            "for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" != dd ] || grep ^voluntary $p/status; done 2> /dev/null; true",
            of: home)
    }

    private func end(_ address: String, in home: borrowing TestHome) async throws {
        try await inGuest("kill $(ps | sed -n 's/^ *\\([0-9]*\\) .*[h]ttpd -p \(address) .*/\\1/p')", of: home)
    }

    private func get(_ port: Int, _ options: String...) async throws -> String {
        try await Tool("curl", ["-s", "-m", "5"] + options + ["http://127.0.0.1:\(port)/"]).run().output.trimmed
    }

    private func isOpen(_ port: Int) async throws -> Bool {
        try await Tool("ss", ["-Hltn", "sport = :\(port)"]).run().output.isEmpty == false
    }

    private func killAgent(_ home: borrowing TestHome) async throws {
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
    }

    @Test func whatTheGuestListensOnIsOnTheHost() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let (everywhere, loopback, later) = (
            try LoopbackPort.free(), try LoopbackPort.free(), try LoopbackPort.free()
        )
        try await serve("everywhere", on: "\(everywhere)", in: home)
        try await serve("loopback", on: "127.0.0.1:\(loopback)", in: home)
        #expect(try await eventually(within: 10) { try await get(everywhere) == "everywhere" })
        #expect(try await eventually(within: 10) { try await get(loopback) == "loopback" })
        let forwarded = try home.events("mini").compactMap(\.status.portForward)
        #expect(forwarded.map(\.type) == ["forwarding", "forwarding"])
        #expect(forwarded.map(\.hostAddr) == ["127.0.0.1:\(everywhere)", "127.0.0.1:\(loopback)"])
        #expect(forwarded.last?.guestAddr == "127.0.0.1:\(loopback)")

        // Connections are no news, and wake nobody who waits for changes.
        let before = try await sleeps(home)
        #expect(before.hasPrefix("voluntary_ctxt_switches:"), "\(before)")
        for port in [everywhere, loopback] {
            for _ in 1...5 { #expect(try await get(port) != "") }
        }
        #expect(try await sleeps(home) == before)

        // Both ways outlive the agent. What the guest closes meanwhile is closed by the next one, and nothing else.
        try await killAgent(home)
        #expect(try await get(everywhere) == "everywhere")
        #expect(try await get(loopback) == "loopback")
        try await serve("later", on: "127.0.0.1:\(later)", in: home)
        try await end("\(everywhere)", in: home)
        #expect(try await isOpen(everywhere))
        try await home.succeeds("start", "mini")
        #expect(try await eventually(within: 10) { try await !isOpen(everywhere) })
        #expect(try await eventually(within: 10) { try await get(later) == "later" })
        #expect(try await get(loopback) == "loopback")
        let changes = try home.events("mini").compactMap(\.status.portForward)
        #expect(
            Set(changes.map { "\($0.type) \($0.hostAddr)" }) == [
                "stopping 127.0.0.1:\(everywhere)", "forwarding 127.0.0.1:\(later)",
            ])

        // A shared connection that breaks is made again, with what it forwards.
        let masters = try await Tool(
            "pgrep", ["-f", "ssh -F \(home.directory("mini"))/ssh.config .*ControlMaster=yes"]
        ).run()
        let master = try #require(Int32(masters.output.trimmed).flatMap { ProcessIdentity.of(pid: $0) })
        #expect(master.signal(9))
        _ = await master.waitUntilEnded()
        #expect(try await eventually(within: 30) { try await get(loopback) == "loopback" })

        // Nothing listens in a guest that boots again.
        try await inGuest("(sleep 0.5; reboot) > /dev/null 2>&1 &", of: home)
        #expect(try await eventually(within: 60) { try home.events("mini").contains { $0.kind == "guest-ready" } })
        #expect(try await eventually(within: 30) { try await !isOpen(loopback) })
        #expect(try await eventually(within: 60) { try await home.run("shell", "mini", "true").succeeded })
        try await serve("again", on: "127.0.0.1:\(loopback)", in: home)
        #expect(try await eventually(within: 30) { try await get(loopback) == "again" })
        try await end("127.0.0.1:\(loopback)", in: home)
        #expect(try await eventually(within: 10) { try await !isOpen(loopback) })
        try await home.succeeds("stop", "mini")
    }

    @Test func rulesAndSocketsOfTheHost() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let original = try TextFile.read(yaml)
        let (guest, host, ignored) = (try LoopbackPort.free(), try LoopbackPort.free(), try LoopbackPort.free())
        let inTheWay = home.path + "/file"
        try TextFile.replace(inTheWay, with: "precious")
        let rules = """
            portForwards:
            - {guestPort: \(ignored), guestIP: 0.0.0.0, ignore: true}
            - {guestPort: \(guest), hostPort: \(host), hostIP: 127.0.0.2}

            """
        try TextFile.replace(yaml, with: original + rules)
        try await home.succeeds("start", "mini")
        try await serve("ignored", on: "\(ignored)", in: home)
        try await serve("web", on: "\(guest)", in: home)
        #expect(
            try await eventually(within: 10) {
                try await Tool("curl", ["-s", "-m", "5", "http://127.0.0.2:\(host)/"]).run().output == "web\n"
            })
        #expect(try await !isOpen(ignored))
        #expect(try await !isOpen(guest))

        // A rule for a socket, live. A socket that nobody answers on is replaced, and only for its owner.
        let socket = home.directory("mini") + "/sock/web.sock"
        try Files.makeDirectory(home.directory("mini") + "/sock")
        let stale = "import socket; socket.socket(socket.AF_UNIX).bind('\(socket)')"
        #expect(try await Tool("python3", ["-c", stale]).run().succeeded)
        let sockets = """
            portForwards:
            - {guestPort: \(guest), hostSocket: web.sock}
            - {guestPort: \(ignored), hostSocket: \(inTheWay), static: true}

            """
        try TextFile.replace(yaml, with: original + sockets)
        let reloaded = try await home.run("reload", "mini")
        #expect(reloaded.error.contains("\(inTheWay) exists already"), "\(reloaded)")
        #expect(try TextFile.read(inTheWay) == "precious")
        #expect(try await eventually(within: 10) { try await get(80, "--unix-socket", socket) == "web" })
        #expect(try await Tool("stat", ["-c", "%a", socket]).run().output == "600\n")
        #expect(try await !Tool("curl", ["-s", "-m", "5", "http://127.0.0.2:\(host)/"]).run().succeeded)

        // Without its rule, and without its guest, the socket is gone.
        try await home.succeeds("stop", "mini")
        #expect(Files.kind(socket) == nil)
        #expect(try TextFile.read(inTheWay) == "precious")
    }

    /// An agent that is killed takes no open connection with it, whichever way the data goes.
    @Test func connectionsOutliveTheAgent() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let (everywhere, loopback) = (try LoopbackPort.free(), try LoopbackPort.free())
        try await serve("everywhere", on: "\(everywhere)", in: home)
        try await serve("loopback", on: "127.0.0.1:\(loopback)", in: home)
        // What sends back what it gets.
        let echo = """
            for word in everywhere loopback; do
                mkdir /tmp/$word/cgi-bin && cd /tmp/$word/cgi-bin || exit
                printf '#!/bin/sh\nprintf "Content-Type: text/plain\\n\\nbegun\\n"\nexec cat\n' > echo && chmod 755 echo
            done
            """
        try await inGuest(echo, of: home)
        #expect(try await eventually(within: 10) { try await get(everywhere) == "everywhere" })
        #expect(try await eventually(within: 10) { try await get(loopback) == "loopback" })
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let transfers = Tool("python3", ["-c", Self.transfers, "\(info.agentPID)", "\(everywhere)", "\(loopback)"])
        let result = try await transfers.run()
        #expect(result.output == "50 whole\n", "\(result)")
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
    }

    /// Opens 25 connections to each port, ends the agent, and lets each connection carry random data there and back.
    /// Arguments: the agent's pid and the ports.
    private static let transfers = """
        import os, socket, sys
        agent, ports = int(sys.argv[1]), [int(port) for port in sys.argv[2:]]
        data = os.urandom(64 << 10)
        def until(connection, end, known=b""):
            while not known.endswith(end):
                piece = connection.recv(65536)
                if not piece: raise SystemExit(f"closed after {known[-200:]}")
                known += piece
            return known
        connections = []
        for port in ports * 25:
            # One after the other: the guest's server keeps nine waiting, and the kernel lets more of them wait for a minute.
            connection = socket.create_connection(("127.0.0.1", port), 60)
            connection.sendall(b"POST /cgi-bin/echo HTTP/1.0\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(data))
            until(connection, b"begun\\n")
            connections.append(connection)
        os.kill(agent, 9)
        for start in range(0, len(data), 8192):
            piece = data[start:start + 8192]
            for connection in connections: connection.sendall(piece)
            for connection in connections:
                back = b""
                while len(back) < len(piece):
                    more = connection.recv(len(piece) - len(back))
                    if not more: raise SystemExit(f"closed after {start + len(back)} bytes")
                    back += more
                if back != piece: raise SystemExit(f"other bytes at {start}")
        print(len(connections), "whole")
        """

    /// The host follows a guest that opens and closes ports all the time at its own pace, and ends where the guest ends.
    @Test func aFloodOfListeners() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let port = try LoopbackPort.free()
        try await inGuest("for i in $(seq 300); do nc -l -p $((20000 + i % 50)) < /dev/null & kill $!; done", of: home)
        try await serve("calm", on: "\(port)", in: home)
        #expect(try await eventually(within: 30) { try await get(port) == "calm" })
        let left = try await eventually(within: 30) {
            let open = try await Tool("ss", ["-Hltn"]).run().output
            return !open.contains("127.0.0.1:200")
        }
        #expect(left)
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        #expect(info.state == .running, "\(info.errors)")
        try await home.succeeds("stop", "mini")
    }
}
