#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Text to standard output and standard error. A write that fails because the reader left is reported once as false;
/// it never ends the program.
package enum StandardStreams {
    @discardableResult
    package static func output(_ text: String) -> Bool { write(text, to: 1) }

    @discardableResult
    package static func error(_ text: String) -> Bool { write(text, to: 2) }

    /// One line from standard input, without its end; nil at its end.
    package static func line() -> String? { readLine(strippingNewline: true) }

    /// All of standard input, up to a limit in bytes; nil when there is more.
    package static func input(limit: Int) -> [UInt8]? {
        (try? TextFile.bytes("/dev/stdin", limit: limit))
    }

    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        var remaining = Array(text.utf8)[...]
        while !remaining.isEmpty {
            let count = remaining.withUnsafeBytes { buffer in
                #if canImport(Glibc)
                    Glibc.write(descriptor, buffer.baseAddress, buffer.count)
                #else
                    Darwin.write(descriptor, buffer.baseAddress, buffer.count)
                #endif
            }
            if count < 0 && errno == EINTR { continue }
            if count <= 0 { return false }
            remaining = remaining.dropFirst(count)
        }
        return true
    }
}
