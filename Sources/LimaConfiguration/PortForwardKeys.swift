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
    private static let ignore = DefaultedKey("ignore", .boolean, default: false)

    private struct Rule {
        var forwards: [PortForward] = []
        /// Whether the guest's ports of this rule are not forwarded, also if a later rule names them.
        var isIgnored = false
    }

    private static let rule = Form<Rule>.record(
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
        let isIgnored = fields[ignore]
        let namesPorts = fields.given(guestPort) != nil || fields.given(guestPortRange) != nil
        guard namesPorts else {
            if !isIgnored { value.warn("only rules that name a guestPort are forwarded") }
            return Rule()
        }
        for (one, range) in [(guestPort, guestPortRange), (hostPort, hostPortRange)]
        where fields.given(one) != nil && fields.given(range) != nil {
            value.fault("\(one.name) and \(range.name) exclude each other")
        }
        let range = fields[guestPortRange]
        guard let guest = fields[guestPort].map({ $0...$0 }) ?? range else { return nil }
        let hostRange = fields[hostPortRange]
        let found = forwards(
            from: fields[hostPort].map { $0...$0 } ?? hostRange ?? guest, of: fields[hostIP], to: guest,
            fields[proto] ?? [.tcp], value)
        return found.map { Rule(forwards: $0, isIgnored: isIgnored) }
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
            var files: [PortForward: String] = [:]
            var ignored: Set<String> = []
            for element in value.elements() {
                guard let found = rule.read(element) else { continue }
                for forward in found.forwards {
                    let guestPort = "\(forward.transport) \(forward.guestPort)"
                    if found.isIgnored { ignored.insert(guestPort) }
                    if ignored.contains(guestPort) { continue }
                    guard let rival = forwards.first(where: { forward.competes(with: $0) }) else {
                        files[forward] = element.node.place.file
                        forwards.append(forward)
                        continue
                    }
                    if files[rival] == element.node.place.file {
                        element.fault(
                            "the host's \(forward.transport.rawValue) port \(forward.hostPort) is forwarded twice")
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
        Key(
            "networks", .unread("list of networks", .list([])), .machine, .start,
            .noEffect("guests have QEMU's user network only"), merging: .combined(["interface"])),
        Key(
            "dns", .unread("list of addresses", .list([])), .guest, .start,
            .noEffect("guests ask the host's resolver through QEMU's"), merging: .first),
        hostResolver,
    ]

    private static let hosts = Key(
        "hosts",
        entries(of: .line).map("mapping of names to addresses or names") { pairs, value -> [Configuration.HostAlias]? in
            pairs.compactMap { name, target in
                guard isHostName(name), isHostName(target) || isAddress(target) else {
                    value.fault("\(InstanceName.quoted(name)): expected a host name, and an address or name for it")
                    return nil
                }
                return Configuration.HostAlias(name: name, target: target)
            }
        }, standard: "`{}`")
    static let hostResolver = Key<[Configuration.HostAlias]>(
        "hostResolver",
        .record([
            hosts,
            Key(
                "enabled", .unread("true or false"), nil, nil,
                .noEffect("guests ask the host's resolver through QEMU's")),
            Key("ipv6", .unread("true or false"), nil, nil, .noEffect("guests ask the host's resolver through QEMU's")),
        ]) { fields, _ in fields[hosts] ?? [] }, .guest, .start)

    /// RFC 1123: letters, digits, dashes and dots. Underscores are accepted, too.
    private static func isHostName(_ text: String) -> Bool {
        1...253 ~= text.utf8.count && text.first != "-"
            && text.utf8.allSatisfy {
                48...57 ~= $0 || 65...90 ~= $0 || 97...122 ~= $0 || "_.-".utf8.contains($0)
            }
    }

    private static func isAddress(_ text: String) -> Bool {
        Form<String>.isIPv4(text)
            || text.contains(":")
                && text.utf8.allSatisfy { 48...58 ~= $0 || 65...70 ~= $0 || 97...102 ~= $0 || $0 == 46 }
    }
}

extension PortForward {
    /// Whether both need the same port of the host.
    fileprivate func competes(with other: PortForward) -> Bool {
        let everywhere = "0.0.0.0"
        return transport == other.transport && hostPort == other.hostPort
            && (hostAddress == other.hostAddress || hostAddress == everywhere || other.hostAddress == everywhere)
    }
}
