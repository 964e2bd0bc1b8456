/// The name of an instance. It is safe as the name of a directory, a unit instance and a launchd label, and as part of
/// a host name.
///
/// The rule is that of Lima and of containerd's identifiers: letters and digits, joined by single `.`, `_` or `-`, at
/// most 76 characters.
package struct InstanceName: Hashable, Sendable, CustomStringConvertible, Comparable {
    package static let maximumLength = 76
    package let text: String

    /// - Throws: `HostError` with `.usage` that says which part of the rule the text breaks.
    package init(_ text: String) throws(HostError) {
        if let reason = Self.fault(in: text) {
            throw HostError(
                .usage, "\(Self.quoted(text)) is not an instance name: \(reason)",
                hint: "use letters and digits, joined by single dots, dashes or underscores, such as my-vm.2")
        }
        self.text = text
    }

    package var description: String { text }

    /// The guest's host name. It may hold letters, digits and dashes, at most 63 of them (RFC 1123).
    package var guestHostname: String {
        "lima-" + String(text.map { $0 == "." || $0 == "_" ? "-" : $0 }.prefix(58))
    }

    package static func < (left: Self, right: Self) -> Bool { left.text < right.text }

    private static func fault(in text: String) -> String? {
        let bytes = Array(text.utf8)
        if bytes.isEmpty { return "it is empty" }
        if bytes.count > maximumLength { return "it has \(bytes.count) characters; the maximum is \(maximumLength)" }
        var afterJoiner = true
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                afterJoiner = false
            case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"):
                if afterJoiner { return "a dot, dash or underscore must stand between letters or digits" }
                afterJoiner = true
            case UInt8(ascii: "/"):
                return "it contains a slash"
            default:
                return "it contains a character that is not allowed"
            }
        }
        return afterJoiner ? "it ends with a dot, dash or underscore" : nil
    }

    /// The text in quotation marks, safe to show on a terminal: control characters are escaped and long text is cut.
    package static func quoted(_ text: String) -> String {
        let shown = text.count > 40 ? text.prefix(40) + "…" : text[...]
        return "\""
            + shown.unicodeScalars.map {
                $0.value < 32 || 0x7f..<0xa0 ~= $0.value ? "\\u{\(String($0.value, radix: 16))}" : String($0)
            }.joined() + "\""
    }
}
