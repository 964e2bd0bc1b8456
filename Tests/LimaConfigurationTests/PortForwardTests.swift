import HostModel
import LimaConfiguration
import Testing

@Suite struct PortForwardTests {
    private func load(_ rules: String) throws -> ResolvedConfiguration {
        try resolve("images:\n- location: /i\n  arch: x86_64\nportForwards:\n\(rules)\n")
    }

    private func plan(_ rules: String) throws -> ForwardPlan {
        try load(rules).configuration.portForwards.located(in: "/lima/x")
    }

    /// What is forwarded if the guest listens on these sockets.
    private func forwards(_ rules: String, _ listeners: String...) throws -> [String] {
        let sockets = try listeners.map { text in
            let colon = try #require(text.lastIndex(of: ":"))
            let address = try #require(IPAddress(text[..<colon]))
            return GuestListener(address, try #require(Int(text[colon...].dropFirst())))
        }
        return try plan(rules).wanted(sockets, network: IPAddress(192, 168, 5, 15), excluding: 2222).sorted()
            .map(\.description)
    }

    /// A network that forwards nothing itself: everything that SSH can forward goes by SSH.
    @Test func withoutTheNetwork() throws {
        let rules = """
            - {guestPort: 80, hostPort: 8080, static: true}
            - {guestPort: 53, proto: udp}
            """
        let forwards = try plan(rules).wanted(
            [GuestListener(.any, 443), GuestListener(.loopbackIPv6, 444)], network: nil, excluding: 2222
        ).sorted().map(\.description)
        #expect(
            forwards == [
                "udp 127.0.0.1:53 to the guest's 53", "127.0.0.1:443 to the guest's 127.0.0.1:443",
                "127.0.0.1:444 to the guest's [::1]:444", "127.0.0.1:8080 to the guest's 127.0.0.1:80",
            ], "\(forwards)")
    }

    /// Without rules, what listens everywhere or on the loopback address is forwarded from the same port of 127.0.0.1.
    @Test func theImplicitRule() throws {
        #expect(try forwards(" []") == [])
        #expect(
            try forwards(" []", "0.0.0.0:80", ":::81", "127.0.0.1:82", "::1:83") == [
                "tcp 127.0.0.1:80 to the guest's 80", "tcp 127.0.0.1:81 to the guest's 81",
                "127.0.0.1:82 to the guest's 127.0.0.1:82", "127.0.0.1:83 to the guest's [::1]:83",
            ])
        // The SSH server has a port of its own; the second is its port on the host.
        #expect(try forwards(" []", "0.0.0.0:22", "0.0.0.0:2222") == [])
        #expect(try forwards(" []", "192.168.5.15:80", "172.17.0.1:80", "127.0.0.53:53") == [])
        // One port leads to one listener; the network reaches more of them, and is the faster way.
        #expect(
            try forwards(" []", "127.0.0.1:80", "::1:80", ":::80", "0.0.0.0:80") == [
                "tcp 127.0.0.1:80 to the guest's 80"
            ])
    }

    @Test func onlyIPv6() throws {
        let wanted = try plan(" []").wanted(
            [GuestListener(#require(IPAddress("::")), 80, isIPv6Only: true)], network: .any, excluding: 0)
        #expect(wanted.map(\.description) == ["127.0.0.1:80 to the guest's [::1]:80"])
    }

    @Test func theFirstRuleThatFitsDecides() throws {
        let web = "- {guestPort: 80, hostPort: 8080}"
        #expect(try forwards(web, "0.0.0.0:80", "0.0.0.0:81").first == "tcp 127.0.0.1:81 to the guest's 81")
        #expect(
            try forwards(web + "\n- {guestPort: 80, hostPort: 9090}", "0.0.0.0:80") == [
                "tcp 127.0.0.1:8080 to the guest's 80"
            ])
        #expect(
            try forwards("- {guestPortRange: [10, 11], hostPortRange: [20, 21]}", "0.0.0.0:10", "127.0.0.1:11") == [
                "tcp 127.0.0.1:20 to the guest's 10", "127.0.0.1:21 to the guest's 127.0.0.1:11",
            ])
        #expect(
            try forwards("- {guestPort: 80, hostIP: 0.0.0.0}", "0.0.0.0:80") == ["tcp 0.0.0.0:80 to the guest's 80"])
        // The machine's network knows only IPv4 addresses of the host.
        #expect(
            try forwards("- {guestPort: 80, hostIP: '::1'}", "0.0.0.0:80", ":::80") == [
                "[::1]:80 to the guest's 127.0.0.1:80"
            ])
    }

    @Test func addressesOfTheGuest() throws {
        let bridge = "- {guestIP: 172.17.0.1, guestPortRange: [1, 65535]}"
        #expect(try forwards(bridge, "172.17.0.1:80") == ["127.0.0.1:80 to the guest's 172.17.0.1:80"])
        #expect(try forwards("- {guestIP: 192.168.5.15}", "192.168.5.15:80") == ["tcp 127.0.0.1:80 to the guest's 80"])
        // A rule for all addresses fits listeners on all addresses only, unless it says otherwise.
        let everywhere = "- {guestIP: 0.0.0.0, hostIP: 0.0.0.0"
        #expect(try forwards(everywhere + "}", "0.0.0.0:80") == ["tcp 0.0.0.0:80 to the guest's 80"])
        #expect(try forwards(everywhere + "}", "127.0.0.1:80") == ["127.0.0.1:80 to the guest's 127.0.0.1:80"])
        #expect(
            try forwards(everywhere + ", guestIPMustBeZero: false}", "127.0.0.1:80", "10.0.0.1:81") == [
                "0.0.0.0:80 to the guest's 127.0.0.1:80", "0.0.0.0:81 to the guest's 10.0.0.1:81",
            ])
    }

    @Test func whatIsIgnored() throws {
        #expect(try forwards("- {guestPort: 80, ignore: true}", "127.0.0.1:80", "127.0.0.1:81").count == 1)
        // A listener on every address is also reached otherwise than by the one that the rule names.
        #expect(try forwards("- {guestPort: 80, ignore: true}", "0.0.0.0:80").count == 1)
        #expect(try forwards("- {guestPort: 80, guestIP: 0.0.0.0, ignore: true}", "0.0.0.0:80") == [])
        #expect(try forwards("- {guestIP: 0.0.0.0, guestIPMustBeZero: false, ignore: true}", "127.0.0.1:80") == [])
        #expect(try forwards("- {guestPort: 80, proto: udp, ignore: true}", "0.0.0.0:80").count == 1)
        #expect(try forwards("- {guestPort: 53, proto: tcp, ignore: true}\n- {guestPort: 53, proto: udp}").count == 1)
        #expect(try forwards("- {guestIP: 0.0.0.0, ignore: true}\n- {guestPort: 53, proto: udp}") == [])
        #expect(try forwards("- {guestIPMustBeZero: true, ignore: true}", "0.0.0.0:80", "127.0.0.1:81").count == 1)
    }

    @Test func manyRulesAreReadAtOnce() throws {
        let rules = (0..<60).map { "- {guestPortRange: [\($0 * 1000 + 1), \($0 * 1000 + 1000)]}" }.joined(
            separator: "\n")
        #expect(
            try forwards(rules + "\n- {guestPort: 80, hostPort: 8080}", "0.0.0.0:80").first
                == "tcp 127.0.0.1:80 to the guest's 80")
    }

    @Test func whatIsForwardedWhoeverListens() throws {
        #expect(try forwards("- {guestPort: 53, proto: udp, hostIP: 0.0.0.0}") == ["udp 0.0.0.0:53 to the guest's 53"])
        #expect(try forwards("- {guestPortRange: [53, 54], proto: any}").count == 2)
        #expect(try forwards("- {guestPort: 53, ignore: true}\n- {guestPortRange: [52, 53], proto: udp}").count == 1)
        let fixed = "- {guestPort: 80, hostPort: 8080, static: true}"
        #expect(try forwards(fixed) == ["127.0.0.1:8080 to the guest's 127.0.0.1:80"])
        #expect(try forwards(fixed, "0.0.0.0:80") == ["tcp 127.0.0.1:8080 to the guest's 80"])
        #expect(try forwards(fixed, "::1:80") == ["127.0.0.1:8080 to the guest's [::1]:80"])
    }

    @Test func sockets() throws {
        let docker = "- {guestSocket: '/run/user/{{.UID}}/docker.sock', hostSocket: '{{.Dir}}/sock/docker.sock'}"
        let found = try plan(docker).connections
        #expect(found.map(\.host) == ["/lima/x/sock/docker.sock"])
        #expect(found.first?.guest.hasSuffix("/docker.sock") == true && found.first?.guest.contains("{{") == false)
        #expect(try forwards("- {guestSocket: /g, hostSocket: deep/h}") == ["/lima/x/sock/deep/h to the guest's /g"])
        #expect(try forwards("- {guestSocket: /g, hostSocket: /h, reverse: true}") == ["the guest's /g to /h"])
        #expect(try forwards("- {guestSocket: /g, hostPort: 80}") == ["127.0.0.1:80 to the guest's /g"])
        #expect(try forwards("- {guestPort: 80, hostSocket: /h}", "0.0.0.0:80") == ["/h to the guest's 127.0.0.1:80"])
        #expect(try forwards("- {guestPort: 80, hostSocket: /h}") == [])
    }

    @Test func whatIsNotForwardedIsSaid() throws {
        #expect(try load("- {proto: any}").warnings.first?.contains("UDP is forwarded") == true)
    }

    @Test(arguments: [
        "- guestPort: 0", "- guestPort: 65536", "- {guestPort: 1, proto: sctp}", "- {guestPort: 1, hostIP: '::g'}",
        "- {guestPort: 1, hostIP: 1.2.3.256}", "- {guestPort: 1, hostIP: 1.2.3}",
        "- {guestPort: 1, hostIP: 127.0.0.+1}", "- {guestPort: 1, hostIP: 127.0.0.01}", "- {guestPortRange: [2, 1]}",
        "- {guestPortRange: [1]}", "- {guestPortRange: [1, 3], hostPortRange: [1, 2]}", "- {hostPort: 1}",
        "- guestPort: 1\n- guestPort: 2\n  hostPort: 1", "- {guestPort: 1, guestPortRange: [1, 2]}",
        "- {guestPort: 1, hostPort: 1, hostPortRange: [1, 1]}",
        "- guestPort: 1\n- {guestPort: 2, hostPort: 1, hostIP: 0.0.0.0}",
        "- {guestPorts: 1}", "nonsense", "- {proto: udp}", "- {guestPort: 1, proto: udp, hostIP: '::1'}",
        "- {static: true}", "- {guestPortRange: [1, 9999], static: true}", "- {guestPort: 1, reverse: true}",
        "- {guestSocket: /g, reverse: true}", "- {guestSocket: g, hostSocket: /h}", "- {guestSocket: /g}",
        "- {guestSocket: /g, guestPort: 1, hostSocket: /h}", "- {guestPort: 1, hostPort: 1, hostSocket: /h}",
        "- {guestPortRange: [1, 2], hostSocket: /h}", "- {guestSocket: '/g:1', hostSocket: /h}",
        "- {guestIP: 127.0.0.1, guestIPMustBeZero: true}", "- {guestSocket: /g, hostSocket: '/$h'}",
        "- {guestSocket: /g, hostSocket: ../../h}", "- {guestSocket: /g, hostSocket: /h/}",
    ])
    func mistakes(_ rules: String) { #expect(throws: HostError.self) { try load(rules) } }

    @Test func aPathThatNoSocketCanHave() {
        let long = String(repeating: "x", count: 200)
        #expect(throws: HostError.self) { try load("- {guestSocket: /g, hostSocket: /\(long)}") }
        #expect(throws: HostError.self) { try load("- {guestSocket: /\(long), hostSocket: /h}") }
    }
}

@Suite struct SettingsOrderTests {
    @Test func otherInstances() throws {
        let settings = try Settings.load("after: [db, my-vm.2_x]\nbefore: [web]\n", file: "f").settings
        #expect(settings.after.map(\.text) == ["db", "my-vm.2_x"] && settings.before.map(\.text) == ["web"])
        #expect(throws: HostError.self) { try Settings.load("after: [a/b]", file: "f") }
        #expect(throws: HostError.self) { try Settings.load("after: db", file: "f") }
    }
}
