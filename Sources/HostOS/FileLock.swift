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
    /// - Throws: `SystemCallError` when the file cannot be opened or locked.
    package static func acquire(path: String) throws(SystemCallError) -> FileLock? {
        let descriptor = try Descriptor(path: path, flags: O_RDWR | O_CREAT)
        do throws(SystemCallError) {
            #if canImport(Glibc)
                try systemCall("lock", path) { clinux_lock_whole_file(descriptor.number) }
            #else
                try systemCall("lock", path) { flock(descriptor.number, LOCK_EX | LOCK_NB) }
            #endif
        } catch {
            if error.code == EAGAIN || error.code == EACCES || error.code == EWOULDBLOCK { return nil }
            throw error
        }
        return FileLock(descriptor: descriptor)
    }

    /// Takes over a lock that the program before this one, in the same process, held.
    /// - Returns: nil when the descriptor is not the lock of this file.
    package static func adopt(descriptor number: Int32, path: String) throws(SystemCallError) -> FileLock? {
        guard fcntl(number, F_SETFD, FD_CLOEXEC) == 0 else { return nil }
        let lock = FileLock(descriptor: Descriptor(taking: number))
        guard lock.isStill(at: path) else { return nil }
        // The lock is the open file's, so taking it again does nothing where it is held.
        #if canImport(Glibc)
            try systemCall("lock", path) { clinux_lock_whole_file(number) }
        #else
            try systemCall("lock", path) { flock(number, LOCK_EX | LOCK_NB) }
        #endif
        return lock
    }

    /// The number of its descriptor, for a program that takes this one's place.
    package var descriptorNumber: Int32 { descriptor.number }

    private init(descriptor: consuming Descriptor) { self.descriptor = descriptor }

    /// Gives the lock up. Letting the value go does the same; saying it keeps the lock until here.
    package consuming func release() {}

    /// Somebody holds the lock. Asking does not take it, so it cannot make another's attempt fail (on Linux).
    /// - Throws: `SystemCallError` when the file exists but cannot be opened.
    package static func isHeld(path: String) throws(SystemCallError) -> Bool {
        // What is no file, nobody has locked.
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
    package borrowing func isStill(at path: String) -> Bool {
        var locked = stat()
        var there = stat()
        guard fstat(descriptor.number, &locked) == 0, stat(path, &there) == 0 else { return false }
        return locked.st_ino == there.st_ino && locked.st_dev == there.st_dev
    }
}
