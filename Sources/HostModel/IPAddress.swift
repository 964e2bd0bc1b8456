/// An IPv4 or IPv6 address. An IPv4 address that is written as an IPv6 address (RFC 4291, 2.5.5.2) is the IPv4 address.
package struct IPAddress: Sendable, Hashable, CustomStringConvertible {
    /// 4 or 16 bytes in network order.
    package let bytes: [UInt8]

    private static let mappedPrefix: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]

    /// - Parameter bytes: 4 or 16 bytes in network order.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.bytes = bytes.count == 16 && bytes.starts(with: Self.mappedPrefix) ? Array(bytes[12...]) : bytes
    }

    /// Reads the forms of RFC 4291, 2.2, and IPv4's dotted form without signs and leading zeros: C reads a number with a
    /// leading zero as octal.
    package init?(_ text: some StringProtocol) {
        guard let bytes = text.contains(":") ? Self.ipv6(String(text)) : Self.ipv4(String(text)) else { return nil }
        self.init(bytes: bytes)
    }

    /// The IPv4 address `a.b.c.d`.
    package init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) { bytes = [a, b, c, d] }

    private init(knownBytes: [UInt8]) { bytes = knownBytes }

    package static let any = IPAddress(0, 0, 0, 0)
    package static let loopback = IPAddress(127, 0, 0, 1)
    package static let loopbackIPv6 = IPAddress(knownBytes: [UInt8](repeating: 0, count: 15) + [1])

    package var isIPv4: Bool { bytes.count == 4 }
    /// Whether this stands for every address of its family.
    package var isAny: Bool { bytes.allSatisfy { $0 == 0 } }
    package var isLoopback: Bool {
        isIPv4 ? bytes[0] == 127 : bytes.dropLast().allSatisfy { $0 == 0 } && bytes[15] == 1
    }

    private static func ipv4(_ text: String) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let bytes = parts.compactMap { part in UInt8(part).flatMap { String($0) == part ? $0 : nil } }
        return parts.count == 4 && bytes.count == 4 ? bytes : nil
    }

    private static func ipv6(_ text: String) -> [UInt8]? {
        guard let gap = text.firstRange(of: "::") else {
            let bytes = groups(text)
            return bytes?.count == 16 ? bytes : nil
        }
        guard !text[..<gap.lowerBound].contains("."),
            let front = groups(String(text[..<gap.lowerBound])), let back = groups(String(text[gap.upperBound...])),
            front.count + back.count <= 14
        else { return nil }
        return front + [UInt8](repeating: 0, count: 16 - front.count - back.count) + back
    }

    /// Groups of up to four hexadecimal digits; the last one may be an IPv4 address.
    private static func groups(_ text: String) -> [UInt8]? {
        if text.isEmpty { return [] }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        var bytes: [UInt8] = []
        for (index, part) in parts.enumerated() {
            if index == parts.count - 1, part.contains(".") {
                guard let tail = ipv4(String(part)) else { return nil }
                bytes += tail
                continue
            }
            guard 1...4 ~= part.utf8.count,
                part.utf8.allSatisfy({ UInt8(ascii: "+") != $0 && UInt8(ascii: "-") != $0 }),
                let group = UInt16(part, radix: 16)
            else { return nil }
            bytes += [UInt8(group >> 8), UInt8(group & 0xff)]
        }
        return bytes
    }

    /// The canonical text (RFC 5952).
    package var description: String {
        if isIPv4 { return bytes.map(String.init).joined(separator: ".") }
        let groups = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
        var gap = 0..<0
        var start = 0
        while start < groups.count {
            let end = groups[start...].firstIndex { $0 != 0 } ?? groups.count
            if end - start > max(gap.count, 1) { gap = start..<end }
            start = max(end, start + 1)
        }
        func text(_ part: ArraySlice<UInt16>) -> String { part.map { String($0, radix: 16) }.joined(separator: ":") }
        return gap.isEmpty
            ? text(groups[...]) : text(groups[..<gap.lowerBound]) + "::" + text(groups[gap.upperBound...])
    }
}

/// A port of an address, in the form `ADDRESS:PORT`, for IPv6 `[ADDRESS]:PORT`.
package struct IPEndpoint: Sendable, Hashable, CustomStringConvertible {
    package var address: IPAddress
    package var port: Int

    package init(_ address: IPAddress, _ port: Int) {
        self.address = address
        self.port = port
    }

    /// Reads what `description` writes.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard let address = IPAddress(host) else { return nil }
        self.init(address, Int(port))
    }

    package var description: String { address.isIPv4 ? "\(address):\(port)" : "[\(address)]:\(port)" }
}
