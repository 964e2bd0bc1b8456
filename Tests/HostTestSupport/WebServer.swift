import HostModel
import HostOS
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import Synchronization

/// A web server on a free port of 127.0.0.1 whose answers a test decides. It records what it was asked.
package final class WebServer: Sendable {
    /// What the server does with a request.
    package struct Answer: Sendable {
        package var status: HTTPResponseStatus
        package var headers: [(String, String)]
        package var body: [UInt8]
        /// What follows after so many bytes of the body; nil if all of it is sent.
        package var interruption: (after: Int, by: Interruption)?

        package enum Interruption: Sendable {
            /// The connection is closed.
            case close
            /// Nothing more is sent. The connection stays open.
            case silence
        }

        package init(
            _ status: HTTPResponseStatus = .ok, headers: [(String, String)] = [], body: [UInt8] = [],
            interruption: (after: Int, by: Interruption)? = nil
        ) {
            self.status = status
            self.headers = headers
            self.body = body
            self.interruption = interruption
        }

        /// The file as an orderly server sends it: whole, or from the byte that `Range` names.
        package static func file(
            _ body: [UInt8], for request: HTTPRequestHead, etag: String? = "\"1\"", modified: String? = nil
        ) -> Answer {
            var headers = (etag.map { [("ETag", $0)] } ?? []) + (modified.map { [("Last-Modified", $0)] } ?? [])
            if let modified, request.headers.first(name: "If-Modified-Since") == modified {
                return Answer(.notModified, headers: headers)
            }
            guard let range = request.headers.first(name: "Range"),
                let start = Int(range.dropFirst("bytes=".count).prefix { $0.isNumber }), start < body.count,
                request.headers.first(name: "If-Range").map({ $0 == etag || $0 == modified }) ?? true
            else { return Answer(headers: headers, body: body) }
            headers.append(("Content-Range", "bytes \(start)-\(body.count - 1)/\(body.count)"))
            return Answer(.partialContent, headers: headers, body: Array(body[start...]))
        }
    }

    package let port: Int
    private let channel: any Channel
    private let state: State
    private let scheme: String

    private final class State: Sendable {
        let requests = Mutex<[HTTPRequestHead]>([])
        let answer: @Sendable (HTTPRequestHead, Int) -> Answer
        init(_ answer: @escaping @Sendable (HTTPRequestHead, Int) -> Answer) { self.answer = answer }
    }

    package var requests: [HTTPRequestHead] { state.requests.withLock { $0 } }

    /// - Parameters:
    ///   - tls: a certificate chain and its key in PEM; nil for plain HTTP.
    ///   - answer: gets the request and how many came before it.
    package init(
        tls: (chain: String, key: String)? = nil,
        answer: @escaping @Sendable (HTTPRequestHead, Int) -> Answer
    ) async throws {
        let state = State(answer)
        let context = try tls.map { tls in
            try NIOSSLContext(
                configuration: .makeServerConfiguration(
                    certificateChain: try NIOSSLCertificate.fromPEMFile(tls.chain).map { .certificate($0) },
                    privateKey: .privateKey(try NIOSSLPrivateKey(file: tls.key, format: .pem))))
        }
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
                    }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(state))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
        scheme = tls == nil ? "http" : "https"
        self.state = state
    }

    package func address(_ path: String, host: String = "127.0.0.1") -> String { "\(scheme)://\(host):\(port)\(path)" }

    package func close() async { try? await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        private let state: State

        init(_ state: State) { self.state = state }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .head(let request) = unwrapInboundIn(data) else { return }
            let count = state.requests.withLock {
                $0.append(request)
                return $0.count - 1
            }
            let answer = state.answer(request, count)
            var head = HTTPResponseHead(version: .http1_1, status: answer.status)
            for (name, value) in answer.headers { head.headers.add(name: name, value: value) }
            if !head.headers.contains(name: "Content-Length") {
                head.headers.add(name: "Content-Length", value: "\(answer.body.count)")
            }
            context.write(wrapOutboundOut(.head(head)), promise: nil)
            let sent = answer.interruption.map { min($0.after, answer.body.count) } ?? answer.body.count
            if answer.status != .notModified, sent > 0 {
                context.write(
                    wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: answer.body[..<sent])))), promise: nil)
            }
            switch answer.interruption?.by {
            case nil: context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            case .silence: context.flush()
            case .close:
                let channel = context.channel
                context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer())))).whenComplete { _ in
                    channel.close(promise: nil)
                }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}

/// Certificates of an authority that only a test trusts, made with openssl(1).
package struct TestCertificates: Sendable {
    /// The authority's certificate.
    package let authority: String
    /// The certificate and the key of a server on 127.0.0.1 and under the name `images.test`.
    package let server: (chain: String, key: String)

    /// - Parameter directory: receives the files.
    package init(in directory: String) async throws {
        let (authority, authorityKey) = (directory + "/ca.pem", directory + "/ca.key")
        let (request, chain, key) = (directory + "/server.csr", directory + "/server.pem", directory + "/server.key")
        let extensions = directory + "/extensions"
        try TextFile.replace(extensions, with: "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:images.test\n")
        let newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        for arguments in [
            ["req", "-x509"] + newKey
                + ["-keyout", authorityKey, "-out", authority, "-days", "2", "-subj", "/CN=test authority"],
            ["req"] + newKey + ["-keyout", key, "-out", request, "-subj", "/CN=127.0.0.1"],
            [
                "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authorityKey, "-CAcreateserial", "-days",
                "2", "-extfile", extensions, "-out", chain,
            ],
        ] {
            let result = try await Tool("openssl", arguments).run()
            guard result.succeeded else { throw HostError(.failed, "openssl \(arguments[0]): \(result.error)") }
        }
        self.authority = authority
        server = (chain, key)
    }
}
