import HostModel
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Writes text to standard output and standard error. A write returns false when it fails, for instance because the
/// reader has gone. It never ends the program.
///
/// This is the only place that decides what may reach a terminal. Text can come from a guest, a file or another
/// account, so control characters are removed from it there. Files and pipes get the text unchanged.
package enum StandardStreams {
    @discardableResult
    package static func output(_ text: String) -> Bool { show(text, on: 1) }

    @discardableResult
    package static func error(_ text: String) -> Bool { show(text, on: 2) }

    /// Writes one of the program's own control sequences to standard output, to move the cursor or change the colour.
    @discardableResult
    package static func control(_ sequence: String) -> Bool { write(sequence, to: 1) }

    private static func show(_ text: String, on descriptor: Int32) -> Bool {
        write(HostProcess.isTerminal(descriptor) ? DisplayText.cleaned(text) : text, to: descriptor)
    }

    /// Reads a line from standard input, without the line end; nil at the end of the input.
    package static func line() -> String? { readLine(strippingNewline: true) }

    /// Reads all of standard input, up to a limit in bytes; nil when there is more or it cannot be read. It is read
    /// from the descriptor itself, because `/dev/stdin` must not be opened again where another account made the pipe.
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

    /// Why a write to standard output failed, such as a full disk; nil when none failed, or when only the reader has
    /// gone.
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
                // A reader that has gone is not a failure of this program.
                if descriptor == 1, errno != EPIPE { failure.store(errno, ordering: .relaxed) }
                return false
            }
            remaining = remaining.dropFirst(count)
        }
        return true
    }
}
