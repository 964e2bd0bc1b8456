import HostOS
import NIOCore

/// Reads the account at the other end of a connection.
enum PeerCredentials {
    static func uid(of provider: any SocketOptionProvider, on loop: any EventLoop) -> EventLoopFuture<UInt32> {
        let option = UnixSocket.peerCredentialOption
        return provider.unsafeGetSocketOption(level: .init(rawValue: option.level), name: .init(rawValue: option.name))
            .map { (peer: PeerCredentialRecord) in peer.uid }
    }
}
