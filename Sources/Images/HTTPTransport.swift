import AsyncHTTPClient
import HostModel
import NIOCore
import NIOHTTP1
import NIOSSL

/// Sends GET requests: with the proxies of the environment, with certificates verified, and with redirects followed as
/// far as that is safe.
package struct HTTPTransport: Sendable {
    /// Time limits in seconds, and counts.
    package struct Limits: Sendable {
        package var connect = 20
        /// Between two pieces of a body, and until the head of an answer.
        package var silence = 60
        package var redirects = 10
        /// Attempts in a row that bring no new bytes.
        package var attempts = 4
        /// The pause after the first failed attempt; each further one is twice as long.
        package var firstPause = 1.0
        /// How many fifths of a second readers of another file at the same address are waited for.
        package var waitsForReaders = 150

        package init() {}
    }

    private let proxies: ProxySettings
    /// A file with certificates to trust instead of the system's; the variable is OpenSSL's and Go's.
    private let trustedCertificates: String?
    private let userAgent: String
    let limits: Limits

    package init(environment: [String: String], userAgent: String, limits: Limits = Limits()) {
        proxies = ProxySettings(environment: environment)
        trustedCertificates = environment["SSL_CERT_FILE"].flatMap { $0.isEmpty ? nil : $0 }
        self.userAgent = userAgent
        self.limits = limits
    }

    /// An answer that is not a redirect.
    struct Answer: Sendable {
        /// Where redirects have led.
        let address: WebAddress
        let status: HTTPResponseStatus
        let headers: HTTPHeaders
        let body: HTTPClientResponse.Body

        /// The number of bytes in the body, if the server tells.
        var length: Int? { headers.first(name: "Content-Length").flatMap { Int($0) } }

        /// The seconds after which the server wants to be asked again (RFC 9110, 10.2.3); at most two minutes.
        var retryAfter: Int? {
            headers.first(name: "Retry-After").flatMap { Int($0) }.map { min(max($0, 0), 120) }
        }
    }

    /// Requests a file and passes the answer on. The connection is closed when `use` returns.
    /// - Throws: `TransferFault`, and `CancellationError`.
    func get<Result: Sendable>(
        _ start: WebAddress, headers: HTTPHeaders, use: @Sendable (Answer) async throws -> Result
    ) async throws -> Result {
        var address = start
        do {
            for _ in 0...limits.redirects {
                let here = address
                let step = try await HTTPClient.withHTTPClient(configuration: try configuration(for: here)) {
                    client -> Step<Result> in
                    var request = HTTPClientRequest(url: here.text)
                    request.headers = headers
                    request.headers.add(name: "User-Agent", value: userAgent)
                    let response = try await client.execute(request, timeout: .seconds(Int64(limits.silence)))
                    if [301, 302, 303, 307, 308].contains(response.status.code),
                        let location = response.headers.first(name: "Location")
                    {
                        return .redirect(try here.redirected(to: location))
                    }
                    return .result(
                        try await use(
                            Answer(
                                address: here, status: response.status, headers: response.headers,
                                body: response.body)))
                }
                switch step {
                case .redirect(let next): address = next
                case .result(let result): return result
                }
            }
            throw HostError(
                .unavailable, "\(start) redirects more than \(limits.redirects) times",
                hint: "the server leads in a circle; use another address")
        } catch let error as CancellationError {
            throw error
        } catch {
            if Task.isCancelled { throw CancellationError() }
            throw TransferFault(error, from: address, through: (try? proxies.proxy(for: address)) ?? nil)
        }
    }

    private enum Step<Result: Sendable>: Sendable {
        case redirect(WebAddress)
        case result(Result)
    }

    private func configuration(for address: WebAddress) throws(HostError) -> HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let trustedCertificates { tls.trustRoots = .file(trustedCertificates) }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(
                connect: .seconds(Int64(limits.connect)), read: .seconds(Int64(limits.silence))))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.retryConnectionEstablishment = false
        guard let proxy = try proxies.proxy(for: address) else { return configuration }
        switch proxy.kind {
        case .socks: configuration.proxy = .socksServer(host: proxy.host, port: proxy.port)
        case .http:
            configuration.proxy = .server(
                host: proxy.host, port: proxy.port,
                authorization: proxy.user.map { .basic(username: $0, password: proxy.password ?? "") })
        }
        return configuration
    }
}
