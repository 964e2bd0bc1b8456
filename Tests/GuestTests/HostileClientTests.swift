import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Clients of an agent's socket that are slow, silent, huge or malformed.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct HostileClientTests {
    private func start(_ home: borrowing TestHome) async throws -> AgentInfo {
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        return try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
    }

    /// Anonymous memory in kB (proc(5), smaps_rollup).
    private func anonymous(_ pid: Int32) throws -> Int {
        let text = String(
            decoding: try TextFile.bytes("/proc/\(pid)/smaps_rollup", limit: 1 << 20, anyKind: true), as: UTF8.self)
        let line = text.split(separator: "\n").first { $0.hasPrefix("Anonymous:") }
        return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    }

    private func send(_ text: String, on connection: borrowing Descriptor) {
        try? connection.write(Array(text.utf8), subject: "hostile")
    }

    @Test func fiveHundredOfThem() async throws {
        let home = try TestHome()
        let info = try await start(home)
        let socket = home.directory("mini") + "/ha.sock"
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        let openings = [
            "", "G", "GET /v1/info", "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
            "POST /v1/stop HTTP/1.1\r\nContent-Le",
            "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nabc", "\u{0}\u{1}\u{2}",
            "GET /v1/info HTTP/1.1\r\nHost: x\r\nX: " + String(repeating: "y", count: 4000),
        ]
        let crowd = Crowd()
        for number in 0..<500 {
            let connection = try UnixSocket.connect(path: socket)
            send(openings[number % openings.count], on: connection)
            crowd.keep(connection)
        }
        // All other clients are served during this time.
        let client = AgentClient(socket: socket)
        for _ in 0..<50 { #expect(try await client.info().state == .running) }
        let grown = try anonymous(agent.pid)
        #expect(grown <= 14 << 10, "\(grown) kB")
        // A stop does not wait for these clients.
        let began = ContinuousClock.now
        try await home.succeeds("stop", "mini")
        #expect(ContinuousClock.now - began < .seconds(20))
        let gone = await eventually(within: 10) { !agent.isAlive }
        #expect(gone)
        crowd.leave()
    }

    @Test func headersWithoutEndAndReadersThatNeverRead() async throws {
        let home = try TestHome()
        let info = try await start(home)
        let socket = home.directory("mini") + "/ha.sock"
        let endless = try UnixSocket.connect(path: socket)
        send("GET /v1/info HTTP/1.1\r\n", on: endless)
        let line = "X-Header: " + String(repeating: "y", count: 1000) + "\r\n"
        // This is far more than the agent accepts. It closes the connection or stops reading, and its memory does not
        // grow.
        for _ in 0..<4000 { send(line, on: endless) }
        let deaf = try UnixSocket.connect(path: socket)
        send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", on: deaf)
        for _ in 0..<200 { _ = try await AgentClient(socket: socket).reload() }
        let grown = try anonymous(info.agentPID)
        #expect(grown <= 14 << 10, "\(grown) kB")
        #expect(try await AgentClient(socket: socket).info().state == .running)
        try await home.succeeds("stop", "mini")
        _ = (endless.number, deaf.number)
    }

    /// Mutations of the requests in the corpus: none of them ends the agent, and a valid request is answered
    /// afterwards.
    @Test func mutatedRequests() async throws {
        let home = try TestHome()
        let info = try await start(home)
        let socket = home.directory("mini") + "/ha.sock"
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        try Fuzz.round("http", seed: 1, count: 3000) { bytes in
            // A request for a stop or an upgrade might be carried out, so it is skipped.
            let text = String(decoding: bytes, as: UTF8.self).lowercased()
            if text.contains("stop") || text.contains("upgrade") { return }
            // A full backlog empties itself while the agent lives.
            for attempt in 0... {
                do {
                    let connection = try UnixSocket.connect(path: socket)
                    try? connection.write(bytes, subject: "fuzz")
                    return
                } catch {
                    if attempt == 5000 { throw error }
                    usleep(1000)
                }
            }
        }
        #expect(agent.isAlive)
        #expect(try await AgentClient(socket: socket).info().run == info.run)
        try await home.succeeds("stop", "mini")
    }
}

/// Connections that stay open.
private final class Crowd {
    private final class Member {
        let connection: Descriptor
        init(_ connection: consuming Descriptor) { self.connection = connection }
    }

    private var members: [Member] = []

    func keep(_ connection: consuming Descriptor) { members.append(Member(connection)) }

    func leave() { members = [] }
}
