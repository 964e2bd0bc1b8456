/// Bytes as printf(1) of a POSIX shell reads them by its conversion `%b`.
enum PrintfText {
    static func escaped(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { isPlain($0) ? String(UnicodeScalar($0)) : escape($0) }.joined()
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch UnicodeScalar(byte) {
        case "a"..."z", "A"..."Z", "0"..."9", ".", "_", "-", "/": true
        default: false
        }
    }

    /// A backslash, a zero and three octal digits.
    private static func escape(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 8)
        return "\\0" + String(repeating: "0", count: 3 - digits.count) + digits
    }
}
