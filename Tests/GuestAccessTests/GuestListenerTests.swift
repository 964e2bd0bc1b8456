import GuestAccess
import HostModel
import Testing

@Suite struct GuestListenerTests {
    private func messages(_ text: String) -> [ChannelMessage] {
        var parser = ChannelParser()
        return parser.feed(Array((text + "\n").utf8), now: 0)
    }

    private func reports(_ text: String) throws -> [ListenerReport] {
        try messages(text).map { message in
            guard case .listeners(let report) = message else {
                throw HostError(.failed, "no report: \(message)")
            }
            return report
        }
    }

    @Test func addressesAsTheKernelWritesThem() throws {
        let any = String(repeating: "0", count: 32)
        let reports = try reports(
            """
            {"type":"ports","part":"all","onlyIPv6":"443 ","sockets":"0100007F:1F41 0F05A8C0:0016 \(any):0050 \(any):01BB"}
            {"type":"ports","part":"one","port":80,"onlyIPv6":"","sockets":"00000000000000000000000001000000:0050"}
            {"type":"ports","part":"more","sockets":"0000000000000000FFFF00000100007F:0051"}
            """)
        let ipv6 = try #require(IPAddress("::"))
        #expect(
            reports == [
                .all([
                    GuestListener(.loopback, 8001), GuestListener(try #require(IPAddress("192.168.5.15")), 22),
                    GuestListener(ipv6, 80), GuestListener(ipv6, 443, isIPv6Only: true),
                ]), .port(80, [GuestListener(try #require(IPAddress("::1")), 80)]),
                .some([GuestListener(.loopback, 81)]),
            ])
    }

    @Test(arguments: [
        #"{"type":"ports"}"#, #"{"type":"ports","part":"one","sockets":""}"#,
        #"{"type":"ports","part":"one","port":81,"sockets":"0100007F:0050"}"#,
        #"{"type":"ports","part":"all","sockets":"0100007F:0000"}"#,
        #"{"type":"ports","part":"all","sockets":"0100007F"}"#,
        #"{"type":"ports","part":"all","sockets":"010000:0050"}"#,
        #"{"type":"ports","part":"all","sockets":"-100007F:0050"}"#,
        #"{"type":"ports","part":"all","sockets":"0100007F:10000"}"#,
    ])
    func nonsenseIsDropped(_ line: String) {
        guard case .dropped? = messages(line).first else {
            Issue.record("\(messages(line))")
            return
        }
    }

    private func listener(_ port: Int) -> GuestListener { GuestListener(.any, port) }

    @Test func changes() {
        var listeners = GuestListeners()
        func take(_ report: ListenerReport) -> Bool { listeners.take(report) }
        #expect(!take(.some([listener(1)])), "a part says nothing about the rest")
        #expect(take(.all([listener(2)])))
        #expect(listeners.current == [listener(1), listener(2)])
        #expect(!take(.port(1, [listener(1)])), "nothing has changed")
        #expect(take(.port(1, [])))
        #expect(take(.port(3, [listener(3)])))
        #expect(listeners.current == [listener(2), listener(3)])
        #expect(take(.all([])), "the whole list begins anew")
        #expect(listeners.current == [] && !listeners.isCut)
    }

    @Test func aGuestCannotFillTheHostsMemory() {
        var listeners = GuestListeners()
        func take(_ report: ListenerReport) -> Bool { listeners.take(report) }
        for round in 0..<100 { _ = take(.some((1...600).map { listener(round * 600 + $0) })) }
        #expect(take(.all([])))
        #expect(listeners.current.count == GuestListeners.maximum && listeners.isCut)
        #expect(!take(.port(65000, [listener(65000)])))
    }

    /// What was lost may have been about listeners. One message a second says so.
    @Test func aFloodIsNoticed() {
        var parser = ChannelParser()
        let line = Array("{\"type\":\"ports\",\"part\":\"all\",\"sockets\":\"\"}\n".utf8)
        var messages: [ChannelMessage] = []
        for second in 1...3 { for _ in 0..<1500 { messages += parser.feed(line, now: Double(second)) } }
        #expect(messages.filter { $0 == .overflow }.count == 2, "the first second's is the warning")
        #expect(messages.contains { if case .dropped = $0 { true } else { false } })
    }
}
