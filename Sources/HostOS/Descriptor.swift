#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A file descriptor with one owner. It is closed when the owner goes away, and no child inherits it.
package struct Descriptor: ~Copyable, Sendable {
    package let number: Int32

    /// Takes over an open descriptor.
    package init(taking number: Int32) { self.number = number }

    /// Opens a file, close-on-exec.
    package init(path: String, flags: Int32, mode: mode_t = 0o600) throws(SystemCallError) {
        number = try systemCall("open", path) { open(path, flags | O_CLOEXEC, mode) }
    }

    deinit { close(number) }

    /// Gives the descriptor to a new owner, who closes it.
    package consuming func release() -> Int32 {
        let released = number
        discard self
        return released
    }

    /// Writes all the bytes.
    package borrowing func write(_ bytes: [UInt8], subject: String) throws(SystemCallError) {
        try bytes.withUnsafeBufferPointer { buffer throws(SystemCallError) in
            try write(UnsafeRawBufferPointer(buffer), subject: subject)
        }
    }

    /// Writes all the bytes of memory that somebody else owns.
    package borrowing func write(_ bytes: UnsafeRawBufferPointer, subject: String) throws(SystemCallError) {
        guard let base = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            done += try systemCall("write", subject) {
                #if canImport(Glibc)
                    Glibc.write(number, base + done, bytes.count - done)
                #else
                    Darwin.write(number, base + done, bytes.count - done)
                #endif
            }
        }
    }

    /// Reads and writes wait, as programs expect that get the descriptor as a standard stream.
    package borrowing func makeBlocking() { _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK) }

    /// Truncates the file to this many bytes. Failures are ignored.
    package borrowing func truncate(to size: Int) { _ = ftruncate(number, off_t(size)) }

    package borrowing func synchronize(subject: String) throws(SystemCallError) {
        try systemCall("fsync", subject) { fsync(number) }
    }
}

extension Descriptor {
    /// Flags to open a log: append to it, and create it when it is missing.
    package static var appending: Int32 { O_WRONLY | O_CREAT | O_APPEND }
}

extension Descriptor {
    /// Whether the path still leads to this file. It does not once somebody has removed or replaced it.
    package borrowing func isStill(at path: String) -> Bool {
        var info = stat()
        return fstat(number, &info) == 0 && Files.identity(path) == FileIdentity(info)
    }

    /// The size of the file in bytes; 0 when it cannot be determined.
    package borrowing func size() -> Int {
        var info = stat()
        return fstat(number, &info) == 0 ? Int(info.st_size) : 0
    }
}
