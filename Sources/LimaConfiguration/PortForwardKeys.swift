import HostModel

/// The keys of the guest's network.
enum NetworkKeys {
    /// The maximum number of ports a file may forward. Each port needs its own listener.
    private static let maximumForwards = 1024

    private static let portRange = list(of: .port).map("two ports") { ends, value -> ClosedRange<Int>? in
        guard ends.count == 2, ends[0] <= ends[1] else {
            value.fault("expected two ports, the first not above the second")
            return nil
        }
        return ends[0]...ends[1]
    }
    private static let guestPort = Key("guestPort", .port)
    private static let guestPortRange = Key("guestPortRange", portRange)
    private static let hostPort = Key("hostPort", .port, standard: "as in the guest")
    private static let hostPortRange = Key("hostPortRange", portRange, standard: "as in the guest")
    private static let hostIP = DefaultedKey("hostIP", .ipv4, default: "127.0.0.1")
    private static let proto = Key(
        "proto",
        Form.text.map("tcp, udp or any") { text, value -> [PortForward.Transport]? in
            if text == "any" { return [.tcp, .udp] }
            if let transport = PortForward.Transport(rawValue: text) { return [transport] }
            value.expected("tcp or udp or any")
            return nil
        }, standard: "`tcp`")
    private static let guestIP = Key<String>(
        "guestIP",
        Form.text.map("IP address") { text, value in
            guard text.contains(":") || Form.isIPv4(text) else {
                value.expected("an IP address")
                return nil
            }
            return text
        }, nil, nil, .partial("the guest's address on its network"))
    // Only ports with a rule are forwarded, so there is nothing to ignore.
    private static let ignore = DefaultedKey("ignore", .boolean, default: false)

    private static let rule = Form<[PortForward]>.record(
        [
            guestPort, guestPortRange, hostPort, hostPortRange, hostIP, proto, ignore,
            guestIP,
            Key("guestIPMustBeZero", Form.boolean, nil, nil, .partial("the guest's address on its network")),
            Key("static", Form.boolean, standard: "every rule is in force from the start"),
            Key("guestSocket", .unread("path"), nil, nil, .notYet),
            Key("hostSocket", .unread("path"), nil, nil, .notYet),
            Key("reverse", .unread("true or false"), nil, nil, .notYet),
        ], named: "rules"
    ) { fields, value in
        if fields[ignore] { return [] }
        let namesPorts = fields.given(guestPort) != nil || fields.given(guestPortRange) != nil
        guard namesPorts else {
            value.warn("only rules that name a guestPort are forwarded")
            return []
        }
        let range = fields[guestPortRange]
        guard let guest = fields[guestPort].map({ $0...$0 }) ?? range else { return nil }
        let hostRange = fields[hostPortRange]
        return forwards(
            from: fields[hostPort].map { $0...$0 } ?? hostRange ?? guest, of: fields[hostIP], to: guest,
            fields[proto] ?? [.tcp], value)
    }

    private static func forwards(
        from host: ClosedRange<Int>, of address: String, to guest: ClosedRange<Int>,
        _ transports: [PortForward.Transport], _ value: ConfigurationValue
    ) -> [PortForward]? {
        guard host.count == guest.count else {
            value.fault("\(guest.count) ports of the guest and \(host.count) of the host; expected as many")
            return nil
        }
        guard guest.count <= maximumForwards else {
            value.fault("more than \(maximumForwards) ports are forwarded")
            return nil
        }
        return transports.flatMap { transport in
            zip(host, guest).map { PortForward(transport, hostAddress: address, hostPort: $0, guestPort: $1) }
        }
    }

    /// The rules as the ports that they forward. One file cannot forward a port of the host twice. Of several files the
    /// one that wins says where the port leads.
    static let portForwards = Key(
        "portForwards",
        Form<[PortForward]>("list of rules", shape: list(of: rule).shape) { value in
            var forwards: [PortForward] = []
            var owners: [String: String] = [:]
            for element in value.elements() {
                for forward in rule.read(element) ?? [] {
                    let port = "\(forward.transport.rawValue) port \(forward.hostPort)"
                    let owner = owners[port]
                    if owner == nil {
                        owners[port] = element.node.place.file
                        forwards.append(forward)
                    } else if owner == element.node.place.file {
                        element.fault("the host's \(port) is forwarded twice")
                    }
                }
                if forwards.count > maximumForwards {
                    element.fault("more than \(maximumForwards) ports are forwarded")
                    return nil
                }
            }
            return forwards
        }, .host, .live, .partial("rules that name a port"))

    static let all: [any KeyDeclaration] = [
        portForwards,
        Key("networks", .unread("list of networks"), .machine, .start, .notYet),
        Key("dns", .unread("list of addresses"), .guest, .start, .notYet, firstFileWins: true),
        Key("hostResolver", .unread("mapping"), .guest, .start, .notYet),
    ]
}
