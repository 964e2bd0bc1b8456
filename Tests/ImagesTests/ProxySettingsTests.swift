import Crypto
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Images
import LimaConfiguration
import NIOHTTP1
import Synchronization
import Testing

@Suite struct ProxySettingsTests {
    private func host(_ address: String, _ environment: [String: String]) throws -> String? {
        let address = try #require(WebAddress(address))
        return try ProxySettings(environment: environment).proxy(for: address).map { "\($0.host):\($0.port)" }
    }

    @Test func theVariablesDecide() throws {
        let both = [
            "HTTP_PROXY": "a:1", "https_proxy": "http://b", "NO_PROXY": "intern, .example.org,10.0.0.0/8,x.y:8080",
        ]
        #expect(try host("http://host/x", both) == "a:1")
        #expect(try host("https://host/x", both) == "b:80")
        #expect(try host("https://host/x", ["HTTP_PROXY": "a:1"]) == nil)
        #expect(try host("http://h/", ["HTTP_PROXY": "socks5://s"]) == "s:1080")
        for direct in [
            "http://localhost/", "http://127.0.0.1:8080/", "http://[::1]/", "http://intern/", "http://a.intern/",
            "http://www.example.org/", "http://10.1.2.3/", "http://x.y:8080/",
        ] {
            #expect(try host(direct, both) == nil, "\(direct)")
        }
        for proxied in ["http://example.org/", "http://notintern/", "http://11.1.2.3/", "http://x.y/"] {
            #expect(try host(proxied, both) == "a:1", "\(proxied)")
        }
        #expect(try host("http://h/", ["HTTP_PROXY": "a:1", "NO_PROXY": "*"]) == nil)
        // A header of a request must not choose the proxy of a CGI program.
        #expect(try host("http://h/", ["HTTP_PROXY": "a:1", "REQUEST_METHOD": "GET"]) == nil)
        #expect(throws: HostError.self) { try host("http://h/", ["HTTP_PROXY": "ftp://a"]) }
    }

    @Test func passwordsAreNotShown() throws {
        let address = try #require(WebAddress("https://ada:secret@example.org/x"))
        #expect("\(address)" == "https://example.org/x" && address.text.contains("secret"))
    }
}
