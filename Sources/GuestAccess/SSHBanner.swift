import NIOCore
import NIOPosix

/// The greeting of an SSH server (RFC 4253, 4.2).
enum SSHBanner {
    /// Connects to a port of 127.0.0.1 and waits for `SSH-`.
    static func isThere(port: Int, patience: TimeAmount) async -> Bool {
        let promise = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: Bool.self)
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(patience)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(promise: promise))
                }
            }
        guard let channel = try? await bootstrap.connect(host: "127.0.0.1", port: port).get() else {
            promise.succeed(false)
            return false
        }
        let deadline = channel.eventLoop.scheduleTask(in: patience) { channel.close(promise: nil) }
        let there = (try? await promise.futureResult.get()) ?? false
        deadline.cancel()
        try? await channel.close().get()
        return there
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let promise: EventLoopPromise<Bool>
        private var seen = ByteBuffer()

        init(promise: EventLoopPromise<Bool>) { self.promise = promise }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var part = unwrapInboundIn(data)
            seen.writeBuffer(&part)
            guard seen.readableBytes >= 4 else { return }
            promise.succeed(seen.getString(at: seen.readerIndex, length: 4) == "SSH-")
        }

        func channelInactive(context: ChannelHandlerContext) { promise.succeed(false) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
