import HostModel

/// The port forwards of QEMU's user networking, in the syntax of its human monitor.
package enum UserNetwork {
    /// The argument of `hostfwd_add`, or without a guest's port that of `hostfwd_remove`.
    package static func rule(_ forward: PortForward, to guestPort: Int?) -> String {
        let host = "\(forward.transport.rawValue):\(forward.hostAddress):\(forward.hostPort)"
        return guestPort.map { "\(host)-:\($0)" } ?? host
    }

    /// Reads the forwards from the output of `info usernet`. Each has a line
    /// `TCP[HOST_FORWARD]  15  127.0.0.1 37907  192.168.5.15  22  0  0`, with `*` for every address.
    package static func forwards(inListing listing: String) -> Set<PortForward> {
        Set(
            listing.split(whereSeparator: \.isNewline).compactMap { line in
                let words = line.split(separator: " ")
                guard words.count >= 6, let mark = words[0].firstRange(of: "[HOST_FORWARD]"),
                    let transport = PortForward.Transport(rawValue: words[0][..<mark.lowerBound].lowercased()),
                    let hostPort = Int(words[3]), let guestPort = Int(words[5])
                else { return nil }
                let address = words[2] == "*" ? "0.0.0.0" : String(words[2])
                return PortForward(transport, hostAddress: address, hostPort: hostPort, guestPort: guestPort)
            })
    }
}
