#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// An advisory lock on a file, held until this value goes away or its process dies. It decides who owns an instance,
/// because it cannot outlive its holder, whatever a power loss leaves on disk.
///
/// It is an open-file-description lock on Linux (fcntl(2), F_OFD_SETLK) and an flock(2) lock elsewhere.
package struct FileLock: ~Copyable, Sendable {
    fileprivate let descriptor: Descriptor

    /// Takes the lock without waiting; nil when somebody else holds it.
    /// - Parameter whenOpen: called between opening the file and locking it; for tests.
    /// - Throws: `SystemCallError` when the file cannot be opened or locked.
    package static func acquire(path: String, whenOpen: () -> Void = {}) throws(SystemCallError) -> FileLock? {
        // The file may be removed or replaced between opening and locking. A lock on the old file would exclude nobody.
        for _ in 0..<maximumTries {
            let descriptor = try Descriptor(path: path, flags: O_RDWR | O_CREAT | O_NOFOLLOW)
            whenOpen()
            do throws(SystemCallError) {
                try lock(descriptor.number, path)
            } catch {
                if error.code == EAGAIN || error.code == EACCES || error.code == EWOULDBLOCK { return nil }
                throw error
            }
            let taken = FileLock(descriptor: descriptor)
            if taken.isStill(at: path) { return taken }
        }
        return nil
    }

    /// The lock is given back before its file is closed: a child that was just forked has the open file too until it runs
    /// its own program, and would hold the lock for that moment.
    deinit {
        #if canImport(Glibc)
            _ = clinux_unlock_whole_file(descriptor.number)
        #else
            _ = flock(descriptor.number, LOCK_UN)
        #endif
    }

    /// How many times the file is opened when it keeps being replaced.
    private static let maximumTries = 10

    private static func lock(_ number: Int32, _ path: String) throws(SystemCallError) {
        #if canImport(Glibc)
            try systemCall("lock", path) { clinux_lock_whole_file(number) }
        #else
            try systemCall("lock", path) { flock(number, LOCK_EX | LOCK_NB) }
        #endif
    }

    /// Takes over a lock that the previous program in the same process held.
    /// - Parameter number: the descriptor that is said to hold the lock. It is neither closed nor changed before it is
    ///   shown to be this lock.
    /// - Returns: nil when the descriptor is not the held lock of this file.
    package static func adopt(descriptor number: Int32, path: String) -> FileLock? {
        // 0 to 2 are the standard streams, whatever the caller claims.
        guard number > 2, isSame(number, path), (try? isHeld(path: path)) == true else { return nil }
        // The lock belongs to the open file. Taking it again changes nothing for its holder, and fails for everybody
        // else.
        guard (try? lock(number, path)) != nil, fcntl(number, F_SETFD, FD_CLOEXEC) == 0 else { return nil }
        return FileLock(descriptor: Descriptor(taking: number))
    }

    /// The number of the lock's descriptor, for the program that replaces this one.
    package var descriptorNumber: Int32 { descriptor.number }

    private init(descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Releases the lock. Dropping the value does the same, but an explicit call keeps the lock held up to this line.
    package consuming func release() {}

    /// Whether somebody holds the lock. On Linux, asking does not take the lock, so nobody else's attempt fails
    /// meanwhile.
    /// - Throws: `SystemCallError` when the file exists but cannot be opened.
    package static func isHeld(path: String) throws(SystemCallError) -> Bool {
        // Only regular files can be locked.
        guard Files.kind(path) == .regular else { return false }
        let descriptor = try Descriptor(path: path, flags: O_RDWR)
        #if canImport(Glibc)
            return try systemCall("lock query", path) { clinux_is_locked(descriptor.number) } == 1
        #else
            let free = flock(descriptor.number, LOCK_SH | LOCK_NB) == 0
            return !free
        #endif
    }
}

extension FileLock {
    /// Whether the path still leads to the locked file. It does not once somebody has removed or replaced the file.
    package borrowing func isStill(at path: String) -> Bool { Self.isSame(descriptor.number, path) }

    private static func isSame(_ number: Int32, _ path: String) -> Bool {
        var locked = stat()
        guard fstat(number, &locked) == 0, locked.st_mode & S_IFMT == S_IFREG else { return false }
        return Files.identity(path) == FileIdentity(locked)
    }
}
