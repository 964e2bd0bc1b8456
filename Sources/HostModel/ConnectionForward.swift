/// A forward over the guest's shared SSH connection: the way for what the guest's network does not reach, such as its
/// loopback address and its sockets.
package struct ConnectionForward: Sendable, Hashable, Codable, Comparable, CustomStringConvertible {
    /// One end of the forward, in the form that ssh(1) takes for `-L` and `-R`: `ADDRESS:PORT`, or the path of a socket.
    package var host: String
    package var guest: String
    /// Whether the guest's end listens and the host's end is connected to.
    package var isReverse: Bool

    package init(host: String, guest: String, isReverse: Bool = false) {
        self.host = host
        self.guest = guest
        self.isReverse = isReverse
    }

    /// The path of the host's socket; nil for a port.
    package var hostSocket: String? { host.hasPrefix("/") ? host : nil }

    /// The option of ssh(1) for this forward.
    package var option: [String] { isReverse ? ["-R", "\(guest):\(host)"] : ["-L", "\(host):\(guest)"] }

    package var description: String {
        isReverse ? "the guest's \(guest) to \(host)" : "\(host) to the guest's \(guest)"
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.host, left.guest, left.isReverse ? 1 : 0) < (right.host, right.guest, right.isReverse ? 1 : 0)
    }
}

/// A forward between the host and the guest, by the way that fits it.
package enum Forward: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// The machine's own network forwards a port of the host to one of the guest's network address.
    case network(PortForward)
    case connection(ConnectionForward)

    /// The port of the guest; nil for a socket.
    package var guestPort: Int? {
        switch self {
        case .network(let forward): forward.guestPort
        case .connection(let forward): IPEndpoint(forward.guest)?.port
        }
    }

    /// The order in which forwards are opened and shown.
    package static func < (left: Self, right: Self) -> Bool {
        switch (left, right) {
        case (.network(let left), .network(let right)): left < right
        case (.connection(let left), .connection(let right)): left < right
        case (.network, .connection): true
        case (.connection, .network): false
        }
    }

    package var description: String {
        switch self {
        case .network(let forward): "\(forward)"
        case .connection(let forward): "\(forward)"
        }
    }
}
