import HostModel
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Text to standard output and standard error. A write that fails because the reader left is reported once as false;
/// it never ends the program.
///
/// This is the one place that decides what may reach a terminal: text can come from a guest, a file or another account,
/// so control characters are left out of it there. Files and pipes get the text as it is.
package enum StandardStreams {
    @discardableResult
    package static func output(_ text: String) -> Bool { show(text, on: 1) }

    @discardableResult
    package static func error(_ text: String) -> Bool { show(text, on: 2) }

    /// Moves the cursor or changes the colour of a terminal on standard output: the program's own control sequences.
    @discardableResult
    package static func control(_ sequence: String) -> Bool { write(sequence, to: 1) }

    private static func show(_ text: String, on descriptor: Int32) -> Bool {
        write(HostProcess.isTerminal(descriptor) ? DisplayText.cleaned(text) : text, to: descriptor)
    }

    /// One line from standard input, without its end; nil at its end.
    package static func line() -> String? { readLine(strippingNewline: true) }

    /// All of standard input, up to a limit in bytes; nil when there is more, or it cannot be read. Read from the descriptor
    /// itself: to open `/dev/stdin` anew is not permitted where another account made the pipe.
    package static func input(limit: Int) -> [UInt8]? {
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = read(0, &buffer, buffer.count)
            if count < 0 && errno == EINTR { continue }
            if count < 0 { return nil }
            if count == 0 { return content }
            content += buffer[..<count]
            if content.count > limit { return nil }
        }
    }

    /// Why standard output could not be written, a full disk for one; nil when it could, or nobody reads any more.
    package static var outputFailure: SystemCallError? {
        let code = failure.load(ordering: .relaxed)
        return code == 0 ? nil : SystemCallError("write", "standard output", code: code)
    }

    private static let failure = Atomic<Int32>(0)

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
            if count <= 0 {
                // A reader that left is no failure of ours.
                if descriptor == 1, errno != EPIPE { failure.store(errno, ordering: .relaxed) }
                return false
            }
            remaining = remaining.dropFirst(count)
        }
        return true
    }
}
