import HostOS
import NIOCore

/// The account at the other end of a connection.
enum PeerCredentials {
    static func uid(of provider: any SocketOptionProvider, on loop: any EventLoop) -> EventLoopFuture<UInt32> {
        // unix(7): SO_PEERCRED is a struct of pid, uid and gid. Elsewhere the directory's mode alone guards.
        guard let option = UnixSocket.peerCredentialOption else { return loop.makeSucceededFuture(HostProcess.uid) }
        return provider.unsafeGetSocketOption(level: .socket, name: .init(rawValue: option))
            .map { (credentials: Triple) in credentials.uid }
    }

    private struct Triple: Sendable {
        var pid: Int32
        var uid: UInt32
        var gid: UInt32
    }
}
