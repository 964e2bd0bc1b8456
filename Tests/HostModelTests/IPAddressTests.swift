import HostModel
import Testing

@Suite struct IPAddressTests {
    @Test(arguments: [
        ("127.0.0.1", "127.0.0.1"), ("::", "::"), ("::1", "::1"), ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:102:304", "1.2.3.4"),
        ("fe80:0:0:0:0:0:0:1", "fe80::1"), ("2001:DB8:0:0:a:0:0:1", "2001:db8::a:0:0:1"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"), ("1::", "1::"), ("1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"),
    ])
    func readsAndWrites(_ text: String, _ canonical: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == canonical)
        #expect(IPAddress(canonical) == address)
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "+1.2.3.4", "1:2", ":", ":::", "1::2::3", "12345::", "g::",
        "1:2:3:4:5:6:7:8:9", "::1.2.3", "1:2:3:4:5:6:7::8:9", "+1::", "::1%lo", " ::1", "1.2.3.4:80",
    ])
    func refuses(_ text: String) { #expect(IPAddress(text) == nil) }

    @Test func kinds() throws {
        for (text, isAny, isLoopback) in [
            ("0.0.0.0", true, false), ("::", true, false), ("127.0.0.53", false, true), ("::1", false, true),
            ("10.0.0.1", false, false), ("::2", false, false),
        ] {
            let address = try #require(IPAddress(text))
            #expect(address.isAny == isAny && address.isLoopback == isLoopback, "\(text)")
        }
        #expect(IPEndpoint(.loopback, 80).description == "127.0.0.1:80")
        #expect(IPEndpoint(try #require(IPAddress("::1")), 80).description == "[::1]:80")
    }
}
