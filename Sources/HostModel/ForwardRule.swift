/// A TCP socket of the guest that accepts connections.
package struct GuestListener: Sendable, Hashable, CustomStringConvertible {
    package var socket: IPEndpoint
    /// The socket accepts no IPv4 connections, although its address stands for all of them (ipv6(7), `IPV6_V6ONLY`).
    package var isIPv6Only: Bool

    package init(_ address: IPAddress, _ port: Int, isIPv6Only: Bool = false) {
        socket = IPEndpoint(address, port)
        self.isIPv6Only = isIPv6Only
    }

    package var description: String { "\(socket)" }
}

/// A rule of `portForwards:` for the ports that the guest listens on. The first rule that fits a listener decides.
package struct ForwardRule: Sendable, Hashable {
    package var guestAddress: IPAddress = .loopback
    /// A rule for `0.0.0.0` fits listeners on all addresses only, and not those on any one address.
    package var guestAddressMustBeAny = false
    package var guestPorts: ClosedRange<Int> = 1...65535
    package var hostAddress: IPAddress = .loopback
    /// As many as the guest's ports.
    package var hostPorts: ClosedRange<Int> = 1...65535
    /// The path of a socket of the host that takes the place of the port.
    package var hostSocket: String?
    /// What fits is not forwarded.
    package var isIgnored = false

    package init() {}

    /// Lima forwards all ports that the guest listens on at every address or its loopback address.
    package static let implicit = ForwardRule()

    private func fits(_ listener: GuestListener) -> Bool {
        let address = listener.socket.address
        guard guestPorts.contains(listener.socket.port) else { return false }
        return address.isAny || address == guestAddress
            || !address.isIPv4 && address.isLoopback && guestAddress == .loopback
            || guestAddress.isAny && !guestAddressMustBeAny
    }

    /// The rule's decision about a listener: whether there is one, and the host's end.
    fileprivate func decision(on listener: GuestListener) -> HostEnd?? {
        guard fits(listener) else { return nil }
        // A listener on every address is also reached by the addresses that the rule does not name.
        if isIgnored { return listener.socket.address.isAny && !guestAddress.isAny ? nil : .some(nil) }
        if let hostSocket { return .socket(hostSocket) }
        return .port(
            IPEndpoint(hostAddress, listener.socket.port - guestPorts.lowerBound + hostPorts.lowerBound))
    }
}

/// Where something is forwarded from on the host.
private enum HostEnd: Hashable {
    case port(IPEndpoint)
    case socket(String)

    var text: String {
        switch self {
        case .port(let port): "\(port)"
        case .socket(let path): path
        }
    }
}

/// What a configuration wants to have forwarded.
package struct ForwardPlan: Sendable, Equatable {
    /// The rules for the guest's listeners, in the order of the configuration.
    package var rules: [ForwardRule] = []
    /// What is forwarded as long as the guest runs, whoever listens: ports of UDP. These forwards use the machine's network.
    package var ports: [PortForward] = []
    /// The same over the SSH connection: sockets, and TCP ports, which a listener may turn into a forward of the network.
    package var connections: [ConnectionForward] = []

    package init() {}

    /// The ports of the guest that are never forwarded, as in Lima: that of its SSH server, which has a port of its own.
    package static let sshPort = 22

    /// What shall be forwarded while the guest has these listeners. It depends on nothing else, so that a new agent comes
    /// to the same result.
    /// - Parameters:
    ///   - network: the guest's address on the machine's network; nil if nothing can be forwarded there.
    ///   - excluded: a port of the guest that is not forwarded: the host's end of the forward to its SSH server has this
    ///     number.
    package func wanted(_ listeners: some Collection<GuestListener>, network: IPAddress?, excluding excluded: Int)
        -> Set<Forward>
    {
        var ends: [HostEnd: Forward] = [:]
        for listener in listeners.sorted(by: Self.precedes)
        where listener.socket.port != Self.sshPort && listener.socket.port != excluded {
            guard let end = end(for: listener), ends[end] == nil else { continue }
            ends[end] = Self.forward(end, to: listener, network: network)
        }
        let taken = Set(ends.keys.map(\.text))
        return Set(ends.values).union(ports.map { Self.forward($0, network: network) })
            .union(connections.filter { $0.isReverse || !taken.contains($0.host) }.map(Forward.connection))
    }

    /// A port that is forwarded whoever listens.
    private static func forward(_ port: PortForward, network: IPAddress?) -> Forward {
        guard network == nil, port.transport == .tcp else { return .network(port) }
        let host = HostEnd.port(IPEndpoint(IPAddress(port.hostAddress) ?? .loopback, port.hostPort))
        return .connection(ConnectionForward(host: host.text, guest: "\(IPEndpoint(.loopback, port.guestPort))"))
    }

    private func end(for listener: GuestListener) -> HostEnd? {
        for rule in rules + [.implicit] {
            if let decision = rule.decision(on: listener) { return decision }
        }
        return nil
    }

    /// Of several listeners that are forwarded from one port, the first one counts. The machine's network is the faster
    /// way, and it reaches listeners on every address.
    private static func precedes(_ left: GuestListener, _ right: GuestListener) -> Bool {
        func rank(_ listener: GuestListener) -> (Int, Int, Int, String) {
            let address = listener.socket.address
            return (
                listener.socket.port, address.isAny && !listener.isIPv6Only ? 0 : 1, address.isIPv4 ? 0 : 1,
                address.description
            )
        }
        return rank(left) < rank(right)
    }

    private static func forward(_ end: HostEnd, to listener: GuestListener, network: IPAddress?) -> Forward {
        let (address, port) = (listener.socket.address, listener.socket.port)
        if let network, case .port(let host) = end, host.address.isIPv4,
            address == network || address.isAny && !listener.isIPv6Only
        {
            return .network(
                PortForward(.tcp, hostAddress: "\(host.address)", hostPort: host.port, guestPort: port))
        }
        let isIPv4 = address.isIPv4
        let reachable = address.isAny ? (isIPv4 ? IPAddress.loopback : .loopbackIPv6) : address
        return .connection(ConnectionForward(host: end.text, guest: "\(IPEndpoint(reachable, port))"))
    }
}
