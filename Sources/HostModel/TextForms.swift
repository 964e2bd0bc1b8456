/// Bytes as lower-case hexadecimal digits.
package enum Hexadecimal {
    package static func text(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }
}

/// Words of POSIX sh.
package enum ShellWord {
    /// Quotes the text so that the shell reads it as one word.
    package static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: #"'\''"#) + "'" }

    /// The command that sets a variable and passes it on to other programs.
    package static func export(_ name: String, _ value: String) -> String { "export \(name)=\(quoted(value))" }
}

/// Text that is safe to show on a terminal.
package enum DisplayText {
    /// Removes control characters except line ends and tabs. Terminals obey C0, DEL and C1 (ECMA-48). Characters that
    /// change the direction of text (Unicode, UAX #9) can hide what is written, so they are removed too.
    package static func cleaned(_ text: String) -> String {
        // Nearly all text is clean. It is returned without a copy.
        if text.unicodeScalars.allSatisfy(isShowable) { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.filter(isShowable)))
    }

    private static func isShowable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0a: true
        case 0..<0x20, 0x7f..<0xa0: false
        case 0x200e, 0x200f, 0x202a...0x202e, 0x2066...0x2069: false
        default: true
        }
    }
}

/// Checks that a renderer makes before it writes: text that its format cannot represent is refused.
package enum Representable {
    /// Refuses control characters, including line ends: they end a line or a string in nearly every text format.
    /// - Parameters:
    ///   - what: what the text is, for the error: `PATH`, `the path of hostagent`.
    ///   - format: the format that cannot hold such text: `a unit file`.
    /// - Throws: `HostError` with `.usage`.
    package static func requireOneLine(_ text: String, what: String, format: String) throws(HostError) {
        guard text.unicodeScalars.contains(where: { $0.value < 32 || 0x7f..<0xa0 ~= $0.value }) else { return }
        throw HostError(
            .usage, "\(what) is \(InstanceName.quoted(text)): \(format) cannot hold line ends or control characters",
            hint: "change it, then try again")
    }

    /// Refuses text that contains one of these characters.
    /// - Throws: `HostError` with `.usage`.
    package static func require(
        _ text: String, without characters: String, what: String, format: String
    ) throws(HostError) {
        guard let bad = text.first(where: characters.contains) else { return }
        throw HostError(
            .usage, "\(what) is \(InstanceName.quoted(text)): \(format) cannot hold the character \(bad)",
            hint: "use a path without it")
    }
}

extension String {
    /// The text without leading and trailing white space and line ends.
    package var trimmed: String {
        let isSpace: (Character) -> Bool = { $0.isWhitespace || $0.isNewline }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) }) else {
            return ""
        }
        return String(self[first...last])
    }
}
