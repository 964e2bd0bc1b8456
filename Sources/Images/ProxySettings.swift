import HostModel

/// Which proxy leads to an address, by the variables that most programs follow: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`,
/// or the same in lower case. As in Go's programs, Lima among them, the loopback interface is reached without a proxy.
package struct ProxySettings: Sendable, Equatable {
    package struct Proxy: Sendable, Equatable {
        package enum Kind: Sendable { case http, socks }
        var kind: Kind
        package var host: String
        package var port: Int
        var user: String?
        var password: String?
    }

    private let http: String?
    private let https: String?
    private let exceptions: [String]

    package init(environment: [String: String]) {
        func value(_ name: String) -> String? {
            [name, name.lowercased()].lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
        }
        // CGI programs get the client's header "Proxy" as HTTP_PROXY (CVE-2016-5385).
        http = environment["REQUEST_METHOD"] == nil ? value("HTTP_PROXY") : nil
        https = value("HTTPS_PROXY")
        exceptions = (value("NO_PROXY") ?? "").split(separator: ",").map { String($0).trimmed.lowercased() }
    }

    /// The proxy for an address; nil if it is reached directly.
    /// - Throws: `HostError` if the variable cannot be understood.
    package func proxy(for address: WebAddress) throws(HostError) -> Proxy? {
        guard let text = address.isSecure ? https : http, !isException(address) else { return nil }
        guard let proxy = Self.parse(text) else {
            let name = address.isSecure ? "HTTPS_PROXY" : "HTTP_PROXY"
            throw HostError(
                .usage, "\(name) is \(InstanceName.quoted(text)), which is not a proxy that can be used",
                hint: "expected http://HOST:PORT or socks5://HOST:PORT")
        }
        return proxy
    }

    private func isException(_ address: WebAddress) -> Bool {
        let host = address.host.lowercased()
        if host == "localhost" || host == "::1" || host.hasPrefix("127.") { return true }
        return exceptions.contains { exception in
            if exception == "*" { return true }
            if let range = IPv4Range(exception) { return range.contains(host) }
            var name = exception[...]
            if let colon = name.lastIndex(of: ":"), let port = Int(name[name.index(after: colon)...]) {
                guard port == address.port else { return false }
                name = name[..<colon]
            }
            if name.hasPrefix("*.") { name = name.dropFirst() }
            return name.hasPrefix(".") ? host.hasSuffix(name) : host == name || host.hasSuffix("." + name)
        }
    }

    private static func parse(_ text: String) -> Proxy? {
        let whole = text.contains("://") ? text : "http://" + text
        let scheme = whole.prefix { $0 != ":" }.lowercased()
        let kind: Proxy.Kind
        switch scheme {
        case "http": kind = .http
        case "socks5", "socks5h": kind = .socks
        default: return nil
        }
        guard let address = WebAddress("http" + whole.dropFirst(scheme.count), portByDefault: kind == .http ? 80 : 1080)
        else { return nil }
        return Proxy(kind: kind, host: address.host, port: address.port, user: address.user, password: address.password)
    }
}

/// An IPv4 address or a range of them in CIDR notation.
private struct IPv4Range {
    private let network: UInt32
    private let mask: UInt32

    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let network = Self.number(parts[0]), parts.count <= 2 else { return nil }
        let length = parts.count == 2 ? Int(parts[1]) ?? -1 : 32
        guard 0...32 ~= length else { return nil }
        mask = length == 0 ? 0 : ~UInt32(0) << UInt32(32 - length)
        self.network = network & mask
    }

    func contains(_ host: String) -> Bool { Self.number(host[...]).map { $0 & mask == network } ?? false }

    private static func number(_ text: Substring) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard parts.count == 4 else { return nil }
        return parts.reduce(UInt32?(0)) { sum, part in part.flatMap { part in sum.map { $0 << 8 | UInt32(part) } } }
    }
}
