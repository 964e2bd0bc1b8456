import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import NIOCore
import NIOHTTP1
import NIOPosix
import Testing

/// An agent that has not yet accepted the clients before this one is slow. It is not absent.
@Suite struct FullBacklogTests {
    @Test func aClientWaitsForRoom() async throws {
        let scratch = try Scratch()
        let socket = scratch.path + "/ha.sock"
        let agent = try await BusyAgent.listen(on: socket)
        let waiting = Task { try await AgentClient(socket: socket).info(patience: .seconds(60)) }
        // The first attempt finds the backlog full. That it waits from then on cannot be seen from outside, so this
        // passes as well if the attempt comes later than the room.
        try await Task.sleep(for: .milliseconds(100))
        try await agent.beginToAccept()
        let error = await #expect(throws: HostError.self) { try await waiting.value }
        // The stand-in answered.
        #expect(
            error?.message.contains("is of a version that does not know /v1/info") == true, "\(error?.message ?? "")")
        try await agent.close()
    }

    @Test func anAgentThatAcceptsNothingIsNotCalledAbsent() async throws {
        let scratch = try Scratch()
        let socket = scratch.path + "/ha.sock"
        let agent = try await BusyAgent.listen(on: socket)
        let error = await #expect(throws: HostError.self) {
            try await AgentClient(socket: socket).info(patience: .milliseconds(200))
        }
        #expect(error?.code == .unavailable)
        #expect(error?.message == "the agent behind \(socket) does not answer: it accepts no connections")
        try await agent.close()
    }

    @Test func nobodyListens() async throws {
        let scratch = try Scratch()
        let socket = scratch.path + "/ha.sock"
        let error = await #expect(throws: HostError.self) { try await AgentClient(socket: socket).info() }
        #expect(error?.message == "no agent listens on \(socket)")
    }
}

/// A server whose backlog is full until it begins to accept. It knows no path.
private struct BusyAgent {
    let channel: any Channel

    static func listen(on socket: String) async throws -> BusyAgent {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.autoRead, value: false)
            .serverChannelOption(.backlog, value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(UnknownPath())
                }
            }
            .bind(unixDomainSocketPath: socket).get()
        #expect(throws: SystemCallError.self) {
            // A connection keeps its place in the backlog after its client has closed it.
            for _ in 0..<100 { _ = try UnixSocket.connect(path: socket) }
        }
        return BusyAgent(channel: channel)
    }

    func beginToAccept() async throws { try await channel.setOption(.autoRead, value: true).get() }

    func close() async throws { try await channel.close() }

    private final class UnknownPath: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data) else { return }
            let head = HTTPResponseHead(version: .http1_1, status: .notFound, headers: ["Content-Length": "0"])
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}
