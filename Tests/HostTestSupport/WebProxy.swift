import NIOCore
import NIOPosix
import Synchronization

/// A proxy that leads every CONNECT (RFC 9110, 9.3.6) to one port of 127.0.0.1. It records what it was asked.
package final class WebProxy: Sendable {
    package let port: Int
    private let channel: any Channel
    private let asked: Asked

    private final class Asked: Sendable {
        let heads = Mutex<[String]>([])
    }

    /// The requests, each with its headers.
    package var heads: [String] { asked.heads.withLock { $0 } }

    package init(leadsTo target: Int) async throws {
        let asked = Asked()
        self.asked = asked
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Client(target: target, asked))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
    }

    package func close() async { try? await channel.close() }

    /// Reads the request, connects, and passes bytes on.
    private final class Client: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let target: Int
        private let asked: Asked
        private var head = ""
        private var server: (any Channel)?

        init(target: Int, _ asked: Asked) {
            self.target = target
            self.asked = asked
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            if let server {
                server.writeAndFlush(buffer, promise: nil)
                return
            }
            head += String(buffer: buffer)
            guard head.hasSuffix("\r\n\r\n") else { return }
            asked.heads.withLock { $0.append(head) }
            let client = context.channel
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            ClientBootstrap(group: context.eventLoop)
                .channelInitializer { $0.pipeline.addHandler(Relay(to: client)) }
                .connect(host: "127.0.0.1", port: target)
                .whenComplete { result in
                    guard case .success(let server) = result else { return client.close(promise: nil) }
                    bound.value.server = server
                    client.writeAndFlush(ByteBuffer(string: "HTTP/1.1 200 OK\r\n\r\n"), promise: nil)
                }
        }

        func channelInactive(context: ChannelHandlerContext) { server?.close(promise: nil) }
    }

    private final class Relay: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let other: any Channel

        init(to other: any Channel) { self.other = other }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            other.writeAndFlush(unwrapInboundIn(data), promise: nil)
        }

        func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    }
}
