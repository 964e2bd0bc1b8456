import NIOCore
import NIOPosix

/// Whether somebody listens on a port of the host.
package enum PortProbe {
    /// Connects, and hangs up at once. On one's own host that is answered without delay.
    package static func accepts(host: String, port: Int) async -> Bool {
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connectTimeout(.seconds(1))
        guard let channel = try? await bootstrap.connect(host: host, port: port).get() else { return false }
        try? await channel.close().get()
        return true
    }
}
