#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Small files, read whole and written atomically.
package enum TextFile {
    /// Reads a file of at most `limit` bytes; nil bytes beyond it are not read, the file is refused.
    /// - Parameter anyKind: pipes and devices too; without it they are refused, for nobody knows when they end.
    /// - Throws: `SystemCallError`; `EFBIG` for a file beyond the limit.
    package static func bytes(
        _ path: String, limit: Int = 16 << 20, anyKind: Bool = false
    ) throws(SystemCallError) -> [UInt8] {
        if !anyKind, isEndless(path) { throw SystemCallError("read", path, code: EINVAL) }
        let descriptor = try Descriptor(path: path, flags: O_RDONLY)
        var content: [UInt8] = []
        while true {
            let part = try descriptor.read(subject: path)
            if part.isEmpty { return content }
            content.append(contentsOf: part)
            if content.count > limit { throw SystemCallError("read", path, code: EFBIG) }
        }
    }

    package static func read(
        _ path: String, limit: Int = 16 << 20, anyKind: Bool = false
    ) throws(SystemCallError) -> String {
        String(decoding: try bytes(path, limit: limit, anyKind: anyKind), as: UTF8.self)
    }

    /// A FIFO, a device: opening or reading it can wait for ever.
    private static func isEndless(_ path: String) -> Bool { [.other, .socket].contains(Files.kind(path)) }

    /// The end of a file, at most `count` bytes of it; empty when there is none.
    package static func tail(_ path: String, count: Int) -> String {
        guard !isEndless(path), let descriptor = try? Descriptor(path: path, flags: O_RDONLY) else { return "" }
        let size = lseek(descriptor.number, 0, SEEK_END)
        guard size > 0 else { return "" }
        var buffer = [UInt8](repeating: 0, count: min(count, Int(size)))
        let got = pread(descriptor.number, &buffer, buffer.count, size - off_t(buffer.count))
        return got > 0 ? String(decoding: buffer[..<got], as: UTF8.self) : ""
    }

    /// Replaces a file as a whole or not at all: written to a temporary name beside it, synced, renamed.
    /// - Throws: `SystemCallError`; nothing is left behind then.
    package static func replace(
        _ path: String, with text: String, mode: mode_t = 0o600
    ) throws(SystemCallError) {
        try replace(path, with: Array(text.utf8), mode: mode)
    }

    package static func replace(
        _ path: String, with bytes: [UInt8], mode: mode_t = 0o600
    ) throws(SystemCallError) {
        let entry = try DirectoryEntry(path: path)
        try entry.directory.replace(entry.name, with: bytes, mode: mode)
    }
}

extension String {
    /// Without white space and line ends around it.
    package var trimmed: String {
        let isSpace: (Character) -> Bool = { $0.isWhitespace || $0.isNewline }
        guard let first = firstIndex(where: { !isSpace($0) }), let last = lastIndex(where: { !isSpace($0) }) else {
            return ""
        }
        return String(self[first...last])
    }
}
