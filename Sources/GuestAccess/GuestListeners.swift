import HostModel

/// A message about the guest's TCP sockets that accept connections.
package enum ListenerReport: Sendable, Equatable {
    /// The whole list, together with what `some` brought before.
    case all([GuestListener])
    /// A part of a list that is not complete yet.
    case some([GuestListener])
    /// What listens on this port now.
    case port(Int, [GuestListener])

    /// Reads the fields of a message. Its sockets are in the form of Linux's `/proc/net/tcp` and `tcp6` (proc(5)).
    init?(part: String?, port: Int?, sockets: String?, onlyIPv6: String?) {
        let only = Set((onlyIPv6 ?? "").split(separator: " ").compactMap { Int($0) })
        var listeners: [GuestListener] = []
        for socket in (sockets ?? "").split(separator: " ") {
            guard let found = Self.listener(socket, onlyIPv6: only) else { return nil }
            listeners.append(found)
        }
        switch (part, port) {
        case ("all", nil): self = .all(listeners)
        case ("more", nil): self = .some(listeners)
        case ("one", let port?) where listeners.allSatisfy { $0.socket.port == port }: self = .port(port, listeners)
        default: return nil
        }
    }

    private static func listener(_ text: Substring, onlyIPv6: Set<Int>) -> GuestListener? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let port = UInt16(parts[1], radix: 16), port > 0, let bytes = bytes(parts[0]),
            let address = IPAddress(bytes: bytes)
        else { return nil }
        let isIPv6Only = !address.isIPv4 && onlyIPv6.contains(Int(port))
        return GuestListener(address, Int(port), isIPv6Only: isIPv6Only)
    }

    /// The kernel prints an address as words of 32 bits in its own byte order. All guests that can be run are
    /// little-endian.
    private static func bytes(_ hexadecimal: Substring) -> [UInt8]? {
        guard [8, 32].contains(hexadecimal.utf8.count) else { return nil }
        var digits = hexadecimal
        var bytes: [UInt8] = []
        while !digits.isEmpty {
            guard let word = UInt32(digits.prefix(8), radix: 16) else { return nil }
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) }
            digits = digits.dropFirst(8)
        }
        return bytes
    }
}

/// The guest's listeners, as its messages tell them. The guest is not trusted: their number is limited.
package struct GuestListeners: Sendable {
    /// Listeners that are kept. A guest with more has something else in mind than to be reached from the host.
    package static let maximum = 4096

    package private(set) var current: Set<GuestListener> = []
    /// More listeners were reported than are kept.
    package private(set) var isCut = false
    private var collected: Set<GuestListener> = []

    package init() {}

    /// - Returns: whether the listeners have changed.
    package mutating func take(_ report: ListenerReport) -> Bool {
        let before = current
        switch report {
        case .some(let part):
            collected = bounded(collected, adding: part)
        case .all(let rest):
            current = bounded(collected, adding: rest)
            collected = []
        case .port(let port, let listeners):
            current = bounded(current.filter { $0.socket.port != port }, adding: listeners)
        }
        return current != before
    }

    private mutating func bounded(_ set: Set<GuestListener>, adding listeners: [GuestListener]) -> Set<GuestListener> {
        var set = set
        for listener in listeners {
            if set.count >= Self.maximum {
                isCut = true
                break
            }
            set.insert(listener)
        }
        return set
    }
}
