import HostModel
import HostOS
import NIOCore
import NIOHTTP1
import NIOPosix

/// One HTTP/1.1 request over a Unix socket.
struct HTTPConnection: Sendable {
    let parts: AsyncThrowingStream<HTTPClientResponsePart, any Error>
    private let channel: any Channel

    /// - Parameter patience: how long to wait for an agent whose backlog is full, because it has not yet accepted the
    ///   clients before this one.
    /// - Throws: `HostError` with `.unavailable` if nobody listens, or if the agent accepts no connection in this time.
    static func open(socket: String, patience: Duration) async throws -> HTTPConnection {
        let (parts, continuation) = AsyncThrowingStream.makeStream(of: HTTPClientResponsePart.self)
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(Handler(continuation: continuation))
                }
            }
        do {
            return HTTPConnection(
                parts: parts, channel: try await connect(bootstrap, to: socket, patience: patience))
        } catch let error as SystemCallError where error.isBusy {
            throw HostError(
                .unavailable, "the agent behind \(socket) does not answer: it accepts no connections",
                hint: "hostagent stop --force ends it and its guest")
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw HostError(.unavailable, "no agent listens on \(socket)")
        }
    }

    private static func connect(
        _ bootstrap: ClientBootstrap, to socket: String, patience: Duration
    ) async throws -> any Channel {
        do {
            return try await bootstrap.connect(unixDomainSocketPath: socket).get()
        } catch let error as IOError where error.errnoCode == EAGAIN {
            // No event tells of room in a backlog. Only a blocking connect(2) waits for it, so a thread does.
            let descriptor = try await NIOThreadPool.singleton.runIfActive {
                try UnixSocket.connect(path: socket, patience: patience).release()
            }
            return try await bootstrap.withConnectedSocket(descriptor).get()
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
