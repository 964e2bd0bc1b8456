import HostModel

/// The keys of `portForwards`.
enum PortForwardKeys {
    /// The maximum number of ports that a file may forward whoever listens, each of which needs a listener of its own, and
    /// of rules.
    private static let maximumForwards = 1024
    private static let maximumSocketPath = 107

    private static let portRange = list(of: .port).map("two ports") { ends, value -> ClosedRange<Int>? in
        guard ends.count == 2, ends[0] <= ends[1] else {
            value.fault("expected two ports, the first not above the second")
            return nil
        }
        return ends[0]...ends[1]
    }
    private static let guestPort = Key("guestPort", .port)
    private static let guestPortRange = Key("guestPortRange", portRange, standard: "`[1, 65535]`")
    private static let hostPort = Key("hostPort", .port, standard: "as in the guest")
    private static let hostPortRange = Key("hostPortRange", portRange, standard: "as in the guest")
    private static let hostIP = DefaultedKey("hostIP", .ipAddress, default: .loopback)
    private static let guestIP = Key("guestIP", .ipAddress, standard: "`127.0.0.1`; `0.0.0.0` with `guestIPMustBeZero`")
    private static let guestIPMustBeZero = Key(
        "guestIPMustBeZero", Form.boolean, standard: "whether `guestIP` is `0.0.0.0`")
    private static let proto = Key(
        "proto",
        Form.text.map("tcp, udp or any") { text, value -> Set<PortForward.Transport>? in
            if text == "any" { return [.tcp, .udp] }
            if let transport = PortForward.Transport(rawValue: text) { return [transport] }
            value.expected("tcp or udp or any")
            return nil
        }, standard: "`any`; UDP is forwarded if the rule names `proto` and a port")
    private static let ignore = DefaultedKey("ignore", .boolean, default: false)
    private static let isStatic = DefaultedKey("static", .boolean, default: false)
    private static let reverse = DefaultedKey("reverse", .boolean, default: false)
    private static let guestSocket = Key(
        "guestSocket",
        Form.guestTemplate.map("absolute path, template") { text, value -> String? in
            guard text.hasPrefix("/"), isSocketPath(text) else {
                value.expected("an absolute path of a socket in the guest, without colons")
                return nil
            }
            return text
        })
    /// A relative path is below the instance's directory, as in Lima.
    private static let hostSocket = Key(
        "hostSocket",
        HostPath.form.map("path, template of the host") { text, value -> String? in
            let path = text.hasPrefix("/") || HostPath.isInDirectory(text) ? text : HostPath.directory + "/sock/" + text
            guard isSocketPath(path), !path.split(separator: "/").contains("..") else {
                value.expected("a path of a socket, of at most \(maximumSocketPath) bytes, without colons and `..`")
                return nil
            }
            return path
        })

    /// ssh(1) separates the ends of a forward with colons, and expands what begins with a percent sign.
    private static func isSocketPath(_ text: String) -> Bool {
        text.utf8.count <= maximumSocketPath && !text.hasSuffix("/")
            && !text.contains(where: { ":%[]$\\\0\n".contains($0) })
    }

    /// One rule: what it adds to the plan.
    private struct Rule {
        var listeners: ForwardRule?
        var ports: [PortForward] = []
        var connections: [ConnectionForward] = []
        /// What an ignore rule is about.
        var ignored: (transports: Set<PortForward.Transport>, ports: ClosedRange<Int>)?
        /// The forward of a rule that is about one port. Two such rules for one port of the host are a mistake.
        var single: [PortForward] = []
    }

    private static let rule = Form<Rule>.record(
        [
            guestPort, guestPortRange, hostPort, hostPortRange, hostIP, proto, ignore, guestIP, guestIPMustBeZero,
            isStatic,
            guestSocket, hostSocket, reverse,
        ], named: "rules"
    ) { fields, value in
        let pairs: [(any KeyDeclaration, any KeyDeclaration)] = [
            (guestPort, guestPortRange), (hostPort, hostPortRange), (guestSocket, guestPort),
            (guestSocket, guestPortRange),
            (hostSocket, hostPort), (hostSocket, hostPortRange),
        ]
        for (one, other) in pairs where fields.given(one) != nil && fields.given(other) != nil {
            value.fault("\(one.name) and \(other.name) exclude each other")
            return nil
        }
        if fields.given(guestSocket) != nil { return socketRule(fields, value) }
        return portRule(fields, value)
    }

    private static func socketRule(_ fields: Fields, _ value: ConfigurationValue) -> Rule? {
        let (guest, socket, isReverse) = (fields[guestSocket], fields[hostSocket], fields[reverse])
        let port = fields[hostPort] ?? fields[hostPortRange]?.lowerBound
        let address = fields[hostIP]
        guard let host = socket ?? (isReverse ? nil : port.map { "\(IPEndpoint(address, $0))" }) else {
            value.fault(isReverse ? "reverse needs a hostSocket" : "guestSocket needs a hostSocket or a hostPort")
            return nil
        }
        guard !fields[ignore], let guest else { return Rule() }
        return Rule(connections: [ConnectionForward(host: host, guest: guest, isReverse: isReverse)])
    }

    private static func portRule(_ fields: Fields, _ value: ConfigurationValue) -> Rule? {
        if fields[reverse] {
            value.fault("reverse needs a guestSocket and a hostSocket")
            return nil
        }
        var rule = ForwardRule()
        let named = fields[guestPort].map { $0...$0 } ?? fields[guestPortRange]
        let mustBeAny = fields[guestIPMustBeZero]
        rule.guestAddress = fields[guestIP] ?? (mustBeAny == true ? .any : .loopback)
        rule.guestAddressMustBeAny = mustBeAny ?? (rule.guestAddress == .any)
        if mustBeAny == true, rule.guestAddress != .any {
            value.fault("guestIPMustBeZero is for the guestIP 0.0.0.0, which is not \(rule.guestAddress)")
            return nil
        }
        rule.guestPorts = named ?? rule.guestPorts
        rule.hostAddress = fields[hostIP]
        rule.hostSocket = fields[hostSocket]
        rule.hostPorts = fields[hostPort].map { $0...$0 } ?? fields[hostPortRange] ?? rule.guestPorts
        rule.isIgnored = fields[ignore]
        let (transports, isFixed) = (fields[proto], fields[isStatic])
        if rule.hostSocket != nil, rule.guestPorts.count != 1 {
            value.fault("hostSocket needs one guestPort")
            return nil
        }
        guard rule.hostSocket != nil || rule.guestPorts.count == rule.hostPorts.count else {
            value.fault(
                "\(rule.guestPorts.count) ports of the guest and \(rule.hostPorts.count) of the host; expected as many")
            return nil
        }
        var result = Rule()
        if transports?.contains(.tcp) ?? true { result.listeners = rule }
        let isFew = named.map { $0.count <= maximumForwards } ?? false
        if rule.isIgnored {
            result.ignored = (transports ?? [.tcp, .udp], rule.guestPorts)
            return result
        }
        if rule.guestPorts.count == 1, rule.hostSocket == nil {
            result.single = (transports ?? [.tcp]).flatMap { forwards(of: rule, $0) }
        }
        if let transports, transports.contains(.udp) {
            if isFew, rule.hostAddress.isIPv4, rule.hostSocket == nil {
                result.ports = forwards(of: rule, .udp)
            } else {
                let why =
                    "UDP is forwarded from ports of an IPv4 address, by rules that name at most \(maximumForwards)"
                if transports == [.udp] { value.fault(why) } else { value.warn(why) }
            }
        }
        if isFixed, result.listeners != nil { result.connections = fixed(rule, isFew: isFew, value) }
        return result
    }

    /// What a static TCP rule forwards whoever listens.
    private static func fixed(_ rule: ForwardRule, isFew: Bool, _ value: ConfigurationValue) -> [ConnectionForward] {
        guard isFew else {
            value.fault("a static rule names its ports, at most \(maximumForwards)")
            return []
        }
        let loopback = rule.guestAddress.isIPv4 ? IPAddress.loopback : .loopbackIPv6
        let guest = rule.guestAddress.isAny ? loopback : rule.guestAddress
        return zip(rule.guestPorts, rule.hostPorts).map { guestPort, hostPort in
            ConnectionForward(
                host: rule.hostSocket ?? "\(IPEndpoint(rule.hostAddress, hostPort))",
                guest: "\(IPEndpoint(guest, guestPort))")
        }
    }

    private static func forwards(of rule: ForwardRule, _ transport: PortForward.Transport) -> [PortForward] {
        zip(rule.hostPorts, rule.guestPorts).map {
            PortForward(transport, hostAddress: "\(rule.hostAddress)", hostPort: $0, guestPort: $1)
        }
    }

    /// The rules as a plan. One file cannot forward a port of the host twice. Of several files the one that wins says where
    /// the port leads.
    static let portForwards = Key(
        "portForwards",
        Form<ForwardPlan>("list of rules", shape: list(of: rule).shape) { value in
            var plan = ForwardPlan()
            /// The rules about one port, by their port of the host, with their files.
            var singles: [Int: [(forward: PortForward, file: String)]] = [:]
            var ignored: [(transports: Set<PortForward.Transport>, ports: ClosedRange<Int>)] = []
            for element in value.elements() {
                guard let found = rule.read(element) else { continue }
                let file = element.node.place.file
                let rival = found.single.lazy.compactMap { forward in
                    singles[forward.hostPort]?.first { forward.competes(with: $0.forward) }
                }.first
                if let rival {
                    guard rival.file == file else { continue }
                    let forward = rival.forward
                    element.fault(
                        "the host's \(forward.transport.rawValue) port \(forward.hostPort) is forwarded twice")
                    return nil
                }
                for forward in found.single { singles[forward.hostPort, default: []].append((forward, file)) }
                if let rule = found.ignored { ignored.append(rule) }
                if let listeners = found.listeners { plan.rules.append(listeners) }
                plan.ports += found.ports.filter { port in
                    !ignored.contains { $0.transports.contains(.udp) && $0.ports.contains(port.guestPort) }
                }
                plan.connections += found.connections.filter { new in
                    !plan.connections.contains { $0.host == new.host && !new.isReverse }
                }
                if plan.ports.count + plan.connections.count > maximumForwards || plan.rules.count > maximumForwards {
                    element.fault("more than \(maximumForwards) ports are forwarded, or as many rules given")
                    return nil
                }
            }
            return plan
        }, .host, .live)
}

extension PortForward {
    /// Whether both need the same port of the host.
    fileprivate func competes(with other: PortForward) -> Bool {
        let everywhere = "0.0.0.0"
        return transport == other.transport && hostPort == other.hostPort && guestPort != other.guestPort
            && (hostAddress == other.hostAddress || hostAddress == everywhere || other.hostAddress == everywhere)
    }
}
