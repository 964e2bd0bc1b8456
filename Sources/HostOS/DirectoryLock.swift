#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An flock(2) lock on a directory, held until this value goes away or its process dies. Programs that are not ours may
/// take part: Lima locks the entries of its download cache in this way.
package struct DirectoryLock: ~Copyable, Sendable {
    private let descriptor: Descriptor
    private let path: String

    /// Takes the lock without waiting; nil when somebody else holds it.
    /// - Parameter shared: others may share the lock. By default this holder is the only one.
    /// - Throws: `SystemCallError` when the directory cannot be opened or locked.
    package static func acquire(path: String, shared: Bool = false) throws(SystemCallError) -> DirectoryLock? {
        // The directory may be removed between opening and locking. A lock on the old one would exclude nobody.
        for _ in 0..<10 {
            let descriptor = try Descriptor(path: path, flags: O_RDONLY | O_DIRECTORY)
            guard try lock(descriptor, shared ? LOCK_SH : LOCK_EX, path) else { return nil }
            var locked = stat()
            if fstat(descriptor.number, &locked) == 0, Files.identity(path) == FileIdentity(locked) {
                return DirectoryLock(descriptor: descriptor, path: path)
            }
        }
        return nil
    }

    private init(descriptor: consuming Descriptor, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    /// A child that was just forked has the open file too, so closing it would not free the lock at once.
    deinit { _ = flock(descriptor.number, LOCK_UN) }

    /// Shares the lock with other readers from now on.
    /// - Returns: false when somebody else took the lock at this moment (flock(2): a conversion is not atomic).
    package borrowing func share() throws(SystemCallError) -> Bool { try Self.lock(descriptor, LOCK_SH, path) }

    /// Releases the lock. Dropping the value does the same, but an explicit call keeps the lock held up to this line.
    package consuming func release() {}

    private static func lock(
        _ descriptor: borrowing Descriptor, _ kind: Int32, _ path: String
    ) throws(SystemCallError) -> Bool {
        do throws(SystemCallError) {
            try systemCall("lock", path) { flock(descriptor.number, kind | LOCK_NB) }
            return true
        } catch {
            if error.code == EWOULDBLOCK { return false }
            throw error
        }
    }
}
