import NIOCore
import NIOPosix

/// Whether nobody listens on a port of the host.
package enum PortProbe {
    private static let loops = MultiThreadedEventLoopGroup.singleton

    /// Connects, and hangs up at once. Only a refusal by this very host says that nobody listens: an address that it does
    /// not have just now, as before its network is up again, says nothing.
    package static func isRefused(host: String, port: Int) async -> Bool {
        guard let address = try? SocketAddress(ipAddress: host, port: port), await isOwn(host) else { return false }
        do {
            let channel = try await ClientBootstrap(group: loops).connectTimeout(.seconds(1)).connect(to: address).get()
            try? await channel.close().get()
            return false
        } catch let error as IOError {
            return error.errnoCode == ECONNREFUSED
        } catch {
            return false
        }
    }

    /// What one can bind to is one's own.
    private static func isOwn(_ host: String) async -> Bool {
        guard let channel = try? await DatagramBootstrap(group: loops).bind(host: host, port: 0).get() else {
            return false
        }
        try? await channel.close().get()
        return true
    }
}
