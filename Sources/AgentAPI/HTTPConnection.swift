import HostModel
import NIOCore
import NIOHTTP1
import NIOPosix

/// One HTTP/1.1 request over a Unix socket.
struct HTTPConnection: Sendable {
    let parts: AsyncThrowingStream<HTTPClientResponsePart, any Error>
    private let channel: any Channel

    static func open(socket: String) async throws -> HTTPConnection {
        let (parts, continuation) = AsyncThrowingStream.makeStream(of: HTTPClientResponsePart.self)
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHTTPClientHandlers()
                        try channel.pipeline.syncOperations.addHandler(Handler(continuation: continuation))
                    }
                }
                .connect(unixDomainSocketPath: socket).get()
            return HTTPConnection(parts: parts, channel: channel)
        } catch {
            throw HostError(.unavailable, "no agent listens on \(socket)")
        }
    }

    func send(_ route: Route, query: String = "") {
        let head = HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: route.method.rawValue), uri: route.path + query,
            headers: ["Host": "hostagent", "Connection": "close", "Content-Length": "0"])
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    }

    /// Closes the connection after `patience`, which ends `parts`.
    func expire(after patience: TimeAmount) {
        channel.eventLoop.scheduleTask(in: patience) { [channel] in channel.close(promise: nil) }
    }

    func close() { channel.close(promise: nil) }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPClientResponsePart

        private let continuation: AsyncThrowingStream<HTTPClientResponsePart, any Error>.Continuation

        init(continuation: AsyncThrowingStream<HTTPClientResponsePart, any Error>.Continuation) {
            self.continuation = continuation
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { continuation.yield(unwrapInboundIn(data)) }

        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            // A complete answer may end together with the connection. An incomplete answer has no `.end`.
            continuation.finish()
            context.close(promise: nil)
        }
    }
}
