import HostModel
import HostOS
import NIOCore
import NIOPosix

/// The host's end of a guest channel.
package protocol ChannelToGuest: Sendable {
    /// The messages of the guest. Finishes when the machine closes its end.
    var messages: AsyncStream<ChannelMessage> { get }
    func send(_ command: GuestChannel.Command)
    func close()
}

/// The guest channel of a machine: a Unix socket that leads to a port in the guest.
package final class GuestChannel: ChannelToGuest {
    /// A command that the host may send to the guest.
    package enum Command: Sendable, Equatable {
        case poweroff, reboot
        /// Seconds since 1970.
        case time(Double)
        /// To tell which of its ports accept connections, now and whenever they change.
        case reportPorts
        /// To mount the host's directories that are not mounted; or, anew, the one of this number, whose server is another.
        case mountDirectories(renewed: Int?)
        /// To have these mounts and no others, until it is told otherwise or boots again.
        case setMounts(MountList)
        /// To let its programs know of these paths, which the host has changed in the mount of this number. They belong to
        /// this account.
        case pathsChanged(mount: Int, owner: UInt32, ChangedPaths)

        /// Whether the guest is told again later what it has missed.
        fileprivate var canBeLost: Bool {
            switch self {
            case .reportPorts, .pathsChanged: true
            case .poweroff, .reboot, .time, .mountDirectories, .setMounts: false
            }
        }

        /// The line on the wire, including the line end.
        package var line: String {
            switch self {
            case .poweroff: #"{"type":"poweroff"}"# + "\n"
            case .reboot: #"{"type":"reboot"}"# + "\n"
            case .mountDirectories(nil): #"{"type":"mounts"}"# + "\n"
            case .mountDirectories(let renewed?): #"{"type":"mounts","renewed":\#(renewed)}"# + "\n"
            case .setMounts(let list):
                #"{"type":"set-mounts","list":""# + PrintfText.escaped(list.text.utf8).replacing("\\", with: "\\\\")
                    + "\"}\n"
            case .pathsChanged(let mount, let owner, let paths):
                #"{"type":"changed","mount":\#(mount),"owner":\#(owner),"paths":""#
                    + paths.text.replacing("\\", with: "\\\\") + "\"}\n"
            case .reportPorts: #"{"type":"ports"}"# + "\n"
            case .time(let seconds):
                #"{"type":"time","seconds":\#((seconds * 1000).rounded() / 1000)}"# + "\n"
            }
        }
    }

    package let messages: AsyncStream<ChannelMessage>
    private let channel: any Channel

    /// Connects to the socket of QEMU's virtio-serial port.
    /// - Throws: `HostError`.
    package static func open(socket: String) async throws -> GuestChannel {
        // The parser limits a guest that sends faster than we read, before its messages reach this buffer.
        let (messages, continuation) = AsyncStream.makeStream(
            of: ChannelMessage.self, bufferingPolicy: .bufferingOldest(4096))
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(Handler(continuation: continuation))
                    }
                }
                .connect(unixDomainSocketPath: socket).get()
            return GuestChannel(messages: messages, channel: channel)
        } catch {
            throw HostError(.failed, "cannot connect to the guest channel \(socket): \(error)")
        }
    }

    private init(messages: AsyncStream<ChannelMessage>, channel: any Channel) {
        self.messages = messages
        self.channel = channel
    }

    deinit { channel.close(promise: nil) }

    package func send(_ command: Command) {
        // A guest that asks again and again and never reads must not fill the memory.
        if command.canBeLost, !channel.isWritable { return }
        channel.writeAndFlush(ByteBuffer(string: command.line), promise: nil)
    }

    package func close() { channel.close(promise: nil) }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private var parser = ChannelParser()
        /// The buffer was full.
        private var hasLost = false
        private let continuation: AsyncStream<ChannelMessage>.Continuation

        init(continuation: AsyncStream<ChannelMessage>.Continuation) { self.continuation = continuation }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data).readableBytesView
            for message in parser.feed(bytes, now: HostProcess.monotonicSeconds) {
                if case .dropped = continuation.yield(message) { hasLost = true }
            }
            if hasLost, case .enqueued = continuation.yield(.overflow) { hasLost = false }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
    }
}
