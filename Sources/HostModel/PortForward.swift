/// A port of the host that is forwarded to a port of the guest.
package struct PortForward: Sendable, Hashable, Codable, Comparable, CustomStringConvertible {
    package enum Transport: String, Sendable, Codable, CaseIterable {
        case tcp, udp
    }

    package var transport: Transport
    /// An IPv4 address of the host; `0.0.0.0` means all of them.
    package var hostAddress: String
    package var hostPort: Int
    package var guestPort: Int

    package init(_ transport: Transport, hostAddress: String, hostPort: Int, guestPort: Int) {
        self.transport = transport
        self.hostAddress = hostAddress
        self.hostPort = hostPort
        self.guestPort = guestPort
    }

    package var description: String { "\(transport.rawValue) \(hostAddress):\(hostPort) to the guest's \(guestPort)" }

    package static func < (left: Self, right: Self) -> Bool {
        (left.hostPort, left.hostAddress, left.transport.rawValue, left.guestPort)
            < (right.hostPort, right.hostAddress, right.transport.rawValue, right.guestPort)
    }
}

/// The state of a port forward.
package enum PortForwardState: Sendable, Equatable {
    case forwarding
    case stopped
    case failed(reason: String)
}
