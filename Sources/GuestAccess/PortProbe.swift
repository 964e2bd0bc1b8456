import NIOCore
import NIOPosix

/// Finds out whether nobody listens on a port of the host.
package enum PortProbe {
    private static let loops = MultiThreadedEventLoopGroup.singleton

    /// Connects and closes the connection at once. Only a refusal from this very host shows that nobody listens. If the
    /// host does not have the address at present, for instance before its network is up again, a refusal proves
    /// nothing.
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

    /// An address that can be bound belongs to this host.
    private static func isOwn(_ host: String) async -> Bool {
        guard let channel = try? await DatagramBootstrap(group: loops).bind(host: host, port: 0).get() else {
            return false
        }
        try? await channel.close().get()
        return true
    }
}
