#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// Small files, read whole and written atomically.
package enum TextFile {
    /// Reads a file. A file of more than `limit` bytes is refused.
    /// - Parameter anyKind: reads pipes and devices too. By default they are refused, because they may never end.
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
        _ path: String, limit: Int = 16 << 20
    ) throws(SystemCallError) -> String {
        String(decoding: try bytes(path, limit: limit), as: UTF8.self)
    }

    /// Reads a file that a person wrote. Bytes that are not text are never replaced by others.
    /// - Returns: nil if the file is not UTF-8.
    package static func strictText(_ path: String) throws(SystemCallError) -> String? {
        String(validating: try bytes(path, limit: 16 << 20), as: UTF8.self)
    }

    /// Whether the path leads to a FIFO, socket or device. Opening or reading one can block for ever.
    private static func isEndless(_ path: String) -> Bool { [.other, .socket].contains(Files.kind(path)) }

    /// The last bytes of a file, at most `count`; empty when the file is empty or cannot be read.
    package static func tail(_ path: String, count: Int) -> String {
        guard !isEndless(path), let descriptor = try? Descriptor(path: path, flags: O_RDONLY) else { return "" }
        let size = lseek(descriptor.number, 0, SEEK_END)
        guard size > 0 else { return "" }
        var buffer = [UInt8](repeating: 0, count: min(count, Int(size)))
        let got = pread(descriptor.number, &buffer, buffer.count, size - off_t(buffer.count))
        return got > 0 ? String(decoding: buffer[..<got], as: UTF8.self) : ""
    }

    /// Replaces a file atomically: a temporary file beside it is written, synced and renamed.
    /// - Throws: `SystemCallError`. No temporary file is left then.
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
