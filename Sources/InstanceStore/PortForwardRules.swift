import HostModel
import Yams

/// Reads `portForwards` of a `lima.yaml`. Only rules that name ports are supported.
extension LimaYAML {
    /// The maximum number of ports a file may forward. Each port needs its own listener.
    private static let maximumForwards = 1024

    /// Keys of rules that Lima applies to sockets, or to ports that it sees opened in the guest.
    private static let unsupported: Set<String> = ["guestSocket", "hostSocket", "reverse"]

    func portForwards(_ value: YAMLValue?) -> [PortForward] {
        var forwards: [PortForward] = []
        for element in value?.elements() ?? [] {
            for forward in rule(element) {
                let taken = forwards.contains { $0.hostPort == forward.hostPort && $0.transport == forward.transport }
                if taken {
                    element.fault(
                        "the host's \(forward.transport.rawValue) port \(forward.hostPort) is forwarded twice")
                } else {
                    forwards.append(forward)
                }
            }
            if forwards.count > Self.maximumForwards {
                element.fault("more than \(Self.maximumForwards) ports are forwarded")
                return []
            }
        }
        return forwards
    }

    private func rule(_ element: YAMLValue) -> [PortForward] {
        let fields = element.fields(
            known: [
                "guestPort", "guestPortRange", "hostPort", "hostPortRange", "hostIP", "guestIP", "guestIPMustBeZero",
                "proto", "ignore", "static",
            ],
            ignored: Self.unsupported)
        // Only ports with a rule are forwarded, so there is nothing to ignore.
        if fields["ignore"]?.boolean() == true { return [] }
        guard let guest = ports(fields, "guestPort", "guestPortRange") else {
            findings.warn(element.node.mark, "\(element.path): only rules that name a guestPort are forwarded")
            return []
        }
        let host = ports(fields, "hostPort", "hostPortRange") ?? guest
        guard host.count == guest.count else {
            element.fault("\(guest.count) ports of the guest and \(host.count) of the host; expected as many")
            return []
        }
        guard guest.count <= Self.maximumForwards else {
            element.fault("more than \(Self.maximumForwards) ports are forwarded")
            return []
        }
        let address = fields["hostIP"].map { $0.ipv4() ?? "" } ?? "127.0.0.1"
        return transports(fields["proto"]).flatMap { transport in
            zip(host, guest).map {
                PortForward(transport, hostAddress: address, hostPort: $0, guestPort: $1)
            }
        }
    }

    private func ports(_ fields: [String: YAMLValue], _ one: String, _ range: String) -> ClosedRange<Int>? {
        if let port = fields[one] { return port.integer(in: 1...65535).map { $0...$0 } }
        guard let elements = fields[range]?.elements() else { return nil }
        let ends = elements.compactMap { $0.integer(in: 1...65535) }
        guard ends.count == 2, ends[0] <= ends[1] else {
            fields[range]?.fault("expected two ports, the first not above the second")
            return nil
        }
        return ends[0]...ends[1]
    }

    private func transports(_ value: YAMLValue?) -> [PortForward.Transport] {
        guard let value else { return [.tcp] }
        if value.node.scalar?.string == "any" { return [.tcp, .udp] }
        return value.word(PortForward.Transport.self).map { [$0] } ?? []
    }
}

extension YAMLValue {
    /// An IPv4 address in dotted form.
    fileprivate func ipv4() -> String? {
        let parts = node.scalar?.string.split(separator: ".", omittingEmptySubsequences: false) ?? []
        // Signs and leading zeros are refused. C reads a number with a leading zero as octal.
        guard parts.count == 4, parts.allSatisfy({ UInt8($0).map(String.init) == String($0) }) else {
            fault("expected an IPv4 address, found \(Self.describe(node))")
            return nil
        }
        return node.scalar?.string
    }
}
