#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// An advisory lock on a file, held until this value goes away or its process dies. The truth about who owns an
/// instance: it cannot outlive its holder, whatever a power loss leaves on disk.
///
/// On Linux an open-file-description lock (fcntl(2), F_OFD_SETLK), elsewhere flock(2).
package struct FileLock: ~Copyable, Sendable {
    fileprivate let descriptor: Descriptor

    /// Takes the lock without waiting; nil when somebody else holds it.
    /// - Parameter whenOpen: called between opening the file and locking it; for tests.
    /// - Throws: `SystemCallError` when the file cannot be opened or locked.
    package static func acquire(path: String, whenOpen: () -> Void = {}) throws(SystemCallError) -> FileLock? {
        // The file may be removed or replaced between opening and locking: a lock on the old one keeps nobody away.
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

    /// How often a lock file that is replaced again and again is opened.
    private static let maximumTries = 10

    private static func lock(_ number: Int32, _ path: String) throws(SystemCallError) {
        #if canImport(Glibc)
            try systemCall("lock", path) { clinux_lock_whole_file(number) }
        #else
            try systemCall("lock", path) { flock(number, LOCK_EX | LOCK_NB) }
        #endif
    }

    /// Takes over a lock that the program before this one, in the same process, held.
    /// - Parameter number: a claim: it is closed, or changed in any way, only once it is shown to be this lock.
    /// - Returns: nil when the descriptor is not the held lock of this file.
    package static func adopt(descriptor number: Int32, path: String) -> FileLock? {
        // 0 to 2 are the standard streams, whatever somebody says.
        guard number > 2, isSame(number, path), (try? isHeld(path: path)) == true else { return nil }
        // The lock belongs to the open file, so taking it again changes nothing for its holder and fails for others.
        guard (try? lock(number, path)) != nil, fcntl(number, F_SETFD, FD_CLOEXEC) == 0 else { return nil }
        return FileLock(descriptor: Descriptor(taking: number))
    }

    /// The number of its descriptor, for a program that takes this one's place.
    package var descriptorNumber: Int32 { descriptor.number }

    private init(descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Gives the lock up. Letting the value go does the same; saying it keeps the lock until here.
    package consuming func release() {}

    /// Somebody holds the lock. Asking does not take it, so it cannot make another's attempt fail (on Linux).
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
    /// The file that is locked is still the one under this path: nobody removed or replaced it.
    package borrowing func isStill(at path: String) -> Bool { Self.isSame(descriptor.number, path) }

    private static func isSame(_ number: Int32, _ path: String) -> Bool {
        var locked = stat()
        guard fstat(number, &locked) == 0, locked.st_mode & S_IFMT == S_IFREG else { return false }
        return Files.identity(path) == FileIdentity(locked)
    }
}
