import HostModel
import LimaConfiguration
import Testing

@Suite struct PortForwardTests {
    private func load(_ rules: String) throws -> ResolvedConfiguration {
        try resolve("images:\n- location: /i\n  arch: x86_64\nportForwards:\n\(rules)\n")
    }

    private func forwards(_ rules: String) throws -> [String] {
        try load(rules).configuration.portForwards.map(\.description)
    }

    @Test func rulesThatNamePorts() throws {
        #expect(try forwards("- guestPort: 80\n  hostPort: 8080") == ["tcp 127.0.0.1:8080 to the guest's 80"])
        #expect(try forwards("- {guestPort: 53, proto: udp, hostIP: 0.0.0.0}") == ["udp 0.0.0.0:53 to the guest's 53"])
        #expect(
            try forwards("- {guestPortRange: [10, 11], hostPortRange: [20, 21], proto: any}") == [
                "tcp 127.0.0.1:20 to the guest's 10", "tcp 127.0.0.1:21 to the guest's 11",
                "udp 127.0.0.1:20 to the guest's 10", "udp 127.0.0.1:21 to the guest's 11",
            ])
        #expect(try forwards("- {guestPort: 80, ignore: true}") == [])
        // The first rule that names a port counts.
        #expect(
            try forwards("- {guestPort: 80, ignore: true}\n- {guestPortRange: [79, 80]}") == [
                "tcp 127.0.0.1:79 to the guest's 79"
            ])
        #expect(try forwards("- {guestPort: 80, hostIP: 127.0.0.1}\n- {guestPort: 80, hostIP: 127.0.0.2}").count == 2)
        #expect(try forwards(" []") == [])
    }

    @Test func whatIsNotForwardedIsSaid() throws {
        #expect(try load("- guestIP: 0.0.0.0").warnings.first?.contains("only rules that name a guestPort") == true)
        #expect(try load("- {guestPort: 1, hostSocket: x}").warnings.count == 1)
    }

    @Test(arguments: [
        "- guestPort: 0", "- guestPort: 65536", "- {guestPort: 1, proto: sctp}", "- {guestPort: 1, hostIP: '::1'}",
        "- {guestPort: 1, hostIP: 1.2.3.256}", "- {guestPort: 1, hostIP: 1.2.3}",
        "- {guestPort: 1, hostIP: 127.0.0.+1}", "- {guestPort: 1, hostIP: 127.0.0.01}", "- {guestPortRange: [2, 1]}",
        "- {guestPortRange: [1]}", "- {guestPortRange: [1, 3], hostPortRange: [1, 2]}", "- {guestPortRange: [1, 9999]}",
        "- guestPort: 1\n- guestPort: 2\n  hostPort: 1", "- {guestPort: 1, guestPortRange: [1, 2]}",
        "- {guestPort: 1, hostPort: 1, hostPortRange: [1, 1]}", "- guestPort: 1\n- {guestPort: 1, hostIP: 0.0.0.0}",
        "- {guestPorts: 1}", "nonsense",
    ])
    func mistakes(_ rules: String) { #expect(throws: HostError.self) { try load(rules) } }
}

@Suite struct SettingsOrderTests {
    @Test func otherInstances() throws {
        let settings = try Settings.load("after: [db, my-vm.2_x]\nbefore: [web]\n", file: "f").settings
        #expect(settings.after.map(\.text) == ["db", "my-vm.2_x"] && settings.before.map(\.text) == ["web"])
        #expect(throws: HostError.self) { try Settings.load("after: [a/b]", file: "f") }
        #expect(throws: HostError.self) { try Settings.load("after: db", file: "f") }
    }
}
