import Foundation
import HostModel
import HostOS
import HostTestSupport
import NIOCore
import NIOPosix
import QEMUDriver
import Synchronization
import Testing

@Suite struct QMPMessageTests {
    private func parse(_ text: String) -> QMPMessage? { QMPMessage(line: Array(text.utf8)) }

    private func answer(_ text: String, id: Int) -> QMPAnswer? {
        guard case .answer(id, let answer) = parse(text) else { return nil }
        return answer
    }

    @Test func messages() throws {
        #expect(parse(#"{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}"#) == .greeting)
        #expect(answer(#"{"return": {}, "id": 1}"#, id: 1)?.text == .some(nil))
        #expect(answer(#"{"return": {"status": "shutdown", "running": false}, "id": 2}"#, id: 2)?.text == "shutdown")
        #expect(answer(#"{"return": "said\r\n", "id": 5}"#, id: 5)?.text == "said\r\n")
        let list = answer(#"{"return": [1], "id": 3}"#, id: 3)
        #expect(list?.text == .some(nil))
        #expect(try list?.decoded() == [1])
        #expect(
            parse(#"{"event": "JOB_STATUS_CHANGE", "data": {"status": "concluded", "id": "j"}}"#)
                == .job(id: "j", status: "concluded"))
        #expect(parse(#"{"event": "JOB_STATUS_CHANGE", "data": {"id": 1}}"#) == nil)
        #expect(
            parse(#"{"error": {"class": "GenericError", "desc": "no"}, "id": 4}"#) == .failure(id: 4, description: "no")
        )
        #expect(
            parse(
                #"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#
            ) == .event(name: "SHUTDOWN", guest: true, reason: "guest-shutdown"))
        #expect(parse(#"{"event": "STOP"}"#) == .event(name: "STOP", guest: false, reason: ""))
        #expect(parse(#"{"event": "X", "data": [1]}"#) == .event(name: "X", guest: false, reason: ""))
    }

    @Test(arguments: ["", "x", "[]", "{}", "{\"return\": {}}", "\u{0}", "{\"id\": \"x\"}", "{\"event\": 1}"])
    func nonsense(_ text: String) { #expect(parse(text) == nil) }
}

/// A monitor that answers what a test tells it. It fails on commands that it does not expect.
private final class StubMonitor: Sendable {
    let socket: String
    private let channel: any Channel
    private let unexpected = Mutex<[String]>([])

    /// - Parameters:
    ///   - greeting: sent at once; nil sends nothing.
    ///   - answers: the answer to a command of this name; `$ID` stands for the command's id.
    init(directory: String, greeting: String? = #"{"QMP": {}}"#, answers: [String: String]) async throws {
        socket = directory + "/qmp.sock"
        let handlers = answers.merging(["qmp_capabilities": #"{"return": {}, "id": $ID}"#]) { given, _ in given }
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { child in
                child.eventLoop.makeCompletedFuture {
                    try child.pipeline.syncOperations.addHandler(Handler(greeting: greeting, answers: handlers))
                }
            }
            .bind(unixDomainSocketPath: socket).get()
    }

    func close() async throws { try await channel.close() }

    private struct Command: Decodable {
        var execute: String
        var id: Int
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let greeting: String?
        let answers: [String: String]

        init(greeting: String?, answers: [String: String]) {
            self.greeting = greeting
            self.answers = answers
        }

        func channelActive(context: ChannelHandlerContext) {
            if let greeting { context.writeAndFlush(NIOAny(ByteBuffer(string: greeting + "\r\n")), promise: nil) }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let text = String(buffer: unwrapInboundIn(data))
            for line in text.split(separator: "\n") {
                let command = try? JSONDecoder().decode(Command.self, from: Data(line.utf8))
                let (name, id) = (command?.execute ?? "?", String(command?.id ?? 0))
                guard let answer = answers[name] else {
                    Issue.record("unexpected command \(name)")
                    context.close(promise: nil)
                    return
                }
                let reply = answer.replacing("$ID", with: id)
                if !reply.isEmpty { context.writeAndFlush(NIOAny(ByteBuffer(string: reply + "\r\n")), promise: nil) }
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct QMPConnectionTests {
    @Test func commandsAndEvents() async throws {
        let scratch = try Scratch()
        let stub = try await StubMonitor(
            directory: scratch.path,
            answers: [
                "query-status": #"{"event": "RESET", "data": {"guest": true}}"# + "\r\n"
                    + #"{"return": {"status": "running"}, "id": $ID}"#,
                "quit": #"{"error": {"class": "x", "desc": "not now"}, "id": $ID}"#,
            ])
        let connection = try await QMPConnection.open(socket: stub.socket, timeout: .seconds(5))
        #expect(try await connection.execute("query-status") == "running")
        await #expect(throws: QMPConnection.Failure.refused("not now")) { try await connection.execute("quit") }
        connection.close()
        var events: [QMPMessage] = []
        for await event in connection.events { events.append(event) }
        #expect(events == [.event(name: "RESET", guest: true, reason: "")])
        await #expect(throws: QMPConnection.Failure.closed) { try await connection.execute("query-status") }
        try await stub.close()
    }

    @Test func silenceHasADeadline() async throws {
        let scratch = try Scratch()
        let silent = try await StubMonitor(directory: scratch.path, greeting: nil, answers: [:])
        await #expect(throws: QMPConnection.Failure.noAnswer(seconds: 0.2)) {
            _ = try await QMPConnection.open(socket: silent.socket, timeout: .milliseconds(200))
        }
        try await silent.close()
    }

    @Test func aCommandThatIsNeverAnsweredHasOneToo() async throws {
        let scratch = try Scratch()
        let stub = try await StubMonitor(directory: scratch.path, answers: ["query-status": ""])
        let connection = try await QMPConnection.open(socket: stub.socket, timeout: .seconds(5))
        await #expect(throws: QMPConnection.Failure.noAnswer(seconds: 0.2)) {
            try await connection.execute("query-status", timeout: .milliseconds(200))
        }
        connection.close()
        try await stub.close()
    }

    @Test func garbageIsNotBelieved() async throws {
        let scratch = try Scratch()
        let stub = try await StubMonitor(
            directory: scratch.path,
            answers: [
                "query-status": "garbage\r\n{\"return\": 3}\r\n{\"id\": 999, \"return\": {}}\r\n"
                    + #"{"return": {"status": "running"}, "id": $ID}"#,
                "quit": String(repeating: "x", count: 3 << 20),
            ])
        let connection = try await QMPConnection.open(socket: stub.socket, timeout: .seconds(5))
        #expect(try await connection.execute("query-status") == "running")
        await #expect(throws: QMPConnection.Failure.closed, "a line without end closes the connection") {
            try await connection.execute("quit")
        }
        try await stub.close()
    }

    @Test func nobodyThere() async throws {
        await #expect(throws: (any Error).self) {
            _ = try await QMPConnection.open(socket: "/nonexistent/qmp.sock", timeout: .seconds(1))
        }
    }
}

@Suite struct BlockStatisticsTests {
    @Test func theDiskThatWasUsedLastCounts() {
        // The lines as QEMU 7.2 prints them.
        func line(_ name: String, _ reads: Int, _ idle: Int) -> String {
            "\(name) (#block123): rd_bytes=4096 wr_bytes=0 rd_operations=\(reads) wr_operations=0 flush_operations=0 "
                + "rd_total_time_ns=99 idle_time_ns=\(idle)\r\n"
        }
        let used = line("disk", 12, 3_500_000_000) + line("cidata", 1, 90_000_000_000)
        #expect(BlockStatistics.idleSeconds(inListing: used + line("other", 0, 0)) == 3.5)
        #expect(BlockStatistics.idleSeconds(inListing: line("disk", 0, 0)) == nil)
        #expect(BlockStatistics.idleSeconds(inListing: "unknown command: 'info blockstats'") == nil)
    }
}

@Suite struct UserNetworkTests {
    @Test func whatTheMonitorLists() {
        let listing = """
            Hub -1 (net):\r
              Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
              TCP[ESTABLISHED]   16       127.0.0.1 37907    192.168.5.15    22     0     0\r
              TCP[HOST_FORWARD]  15       127.0.0.1 37907    192.168.5.15    22     0     0\r
              UDP[HOST_FORWARD]  14               *    53    192.168.5.15  5353     0     0\r
              nonsense\r
            """
        #expect(
            UserNetwork.forwards(inListing: listing) == [
                PortForward(.tcp, hostAddress: "127.0.0.1", hostPort: 37907, guestPort: 22),
                PortForward(.udp, hostAddress: "0.0.0.0", hostPort: 53, guestPort: 5353),
            ])
        #expect(UserNetwork.forwards(inListing: "").isEmpty)
    }

    @Test func rules() {
        let forward = PortForward(.tcp, hostAddress: "127.0.0.1", hostPort: 8080, guestPort: 80)
        #expect(UserNetwork.rule(forward, to: 80) == "tcp:127.0.0.1:8080-:80")
        #expect(UserNetwork.rule(forward, to: nil) == "tcp:127.0.0.1:8080")
    }
}

@Suite struct QMPFuzzTests {
    @Test func lines() throws {
        try Fuzz.round("qmp", seed: 5, count: 6000) { bytes in
            _ = QMPMessage(line: bytes)
            _ = UserNetwork.forwards(inListing: String(decoding: bytes, as: UTF8.self))
        }
    }
}
