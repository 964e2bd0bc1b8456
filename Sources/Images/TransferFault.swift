import AsyncHTTPClient
import HostModel
import HostOS
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// Why an attempt to transfer a file failed, and whether another attempt can succeed.
enum TransferFault: Error {
    /// A repetition fails in the same way.
    case final(HostError)
    /// A repetition may succeed. The reason is a clause about the server. `pause` is what the server asked for, in
    /// seconds.
    case passing(String, pause: Int? = nil)
    case disk(SystemCallError)

    /// What the client's error means.
    /// - Parameter proxy: what was connected to in the place of the server.
    init(_ error: any Error, from address: WebAddress, through proxy: ProxySettings.Proxy?) {
        let peer = Peer(
            host: proxy?.host ?? address.host, port: proxy?.port ?? address.port, isProxy: proxy != nil)
        switch error {
        case let fault as TransferFault: self = fault
        case let error as HostError: self = .final(error)
        case let error as SystemCallError: self = .disk(error)
        case let error as NIOSSLError: self = Self.tls("\(error)", address)
        case let error as BoringSSLError: self = Self.tls("\(error)", address)
        case let error as NIOConnectionError: self = .passing(Self.reason(error, peer))
        case let error as IOError:
            self = .passing("cannot connect to \(peer): \(Self.words(error.errnoCode))")
        case is HTTPParserError: self = .passing("the server broke off, or sent something that is not HTTP")
        case let error as HTTPClientError: self = Self.fault(of: error, address, peer)
        case is ChannelError: self = .passing("the connection was closed")
        default: self = .passing("\(error)")
        }
    }

    /// What the client connects to.
    private struct Peer: CustomStringConvertible {
        var host: String
        var port: Int
        var isProxy: Bool

        var description: String { "\(isProxy ? "the proxy " : "")\(host):\(port)" }
    }

    private static func fault(of error: HTTPClientError, _ address: WebAddress, _ peer: Peer) -> TransferFault {
        switch error {
        case .connectTimeout: .passing("\(peer) does not answer")
        case .readTimeout: .passing("the server has stopped sending")
        case .deadlineExceeded, .tlsHandshakeTimeout, .httpProxyHandshakeTimeout, .socksHandshakeTimeout:
            .passing("the server does not answer")
        case .remoteConnectionClosed: .passing("the server closed the connection")
        case .proxyAuthenticationRequired:
            .final(
                HostError(
                    .unavailable, "cannot download \(address): the proxy wants a password",
                    hint: "put it into the variable: http://USER:PASSWORD@HOST:PORT"))
        case .invalidProxyResponse: .passing("the proxy refused the connection")
        default: .passing("\(error)")
        }
    }

    private static func tls(_ text: String, _ address: WebAddress) -> TransferFault {
        let isAboutCertificate = text.uppercased().contains("CERTIFICATE") || text.contains("unableToValidate")
        return .final(
            HostError(
                .unavailable,
                isAboutCertificate
                    ? "cannot download \(address): the certificate of \(address.host) is not trusted"
                    : "cannot download \(address): no encrypted connection: \(text.prefix(200))",
                hint: isAboutCertificate
                    ? "SSL_CERT_FILE can name a file with the certificates to trust" : "check the address"))
    }

    private static func reason(_ error: NIOConnectionError, _ peer: Peer) -> String {
        if let attempt = error.connectionErrors.first {
            let reason = (attempt.error as? IOError).map { words($0.errnoCode) } ?? "\(attempt.error)"
            return "cannot connect to \(peer): \(reason)"
        }
        return "the name \(peer.host)\(peer.isProxy ? " of the proxy" : "") cannot be resolved"
    }

    private static func words(_ code: Int32) -> String { SystemCallError("connect", "", code: code).reason }
}
