/// Bytes as lower-case hexadecimal digits.
package enum Hexadecimal {
    package static func text(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }
}

/// Words of POSIX sh.
package enum ShellWord {
    /// A word that stands for exactly this text.
    package static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: #"'\''"#) + "'" }
}

/// Text as it may be shown on a terminal.
package enum DisplayText {
    /// Without control characters, but for line ends and tabs: neither C0, DEL and C1 (ECMA-48), which terminals obey,
    /// nor the characters that change the direction of text (Unicode, UAX #9), which hide what is written.
    package static func cleaned(_ text: String) -> String {
        // Nearly all text is clean, and then nothing is copied.
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

/// What a text format cannot say is refused by its renderer, before it is written anywhere.
package enum Representable {
    /// Refuses control characters, line ends among them: they end a line or a string in nearly every text format.
    /// - Parameters:
    ///   - what: what the text is, for the error: `PATH`, `the path of hostagent`.
    ///   - format: what cannot hold it: `a unit file`.
    /// - Throws: `HostError` with `.usage`.
    package static func requireOneLine(_ text: String, what: String, format: String) throws(HostError) {
        guard text.unicodeScalars.contains(where: { $0.value < 32 || 0x7f..<0xa0 ~= $0.value }) else { return }
        throw HostError(
            .usage, "\(what) is \(InstanceName.quoted(text)): \(format) cannot hold line ends or control characters",
            hint: "change it, then try again")
    }

    /// Refuses these characters.
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
