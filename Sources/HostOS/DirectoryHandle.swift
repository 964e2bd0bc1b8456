#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// An open directory. Entries are reached relative to its descriptor and symbolic links are not followed (openat(2),
/// O_NOFOLLOW). Somebody who may write in the directory cannot redirect an operation to another place.
package struct DirectoryHandle: ~Copyable, Sendable {
    private let descriptor: Descriptor
    /// For messages only.
    private let path: String

    /// - Throws: `SystemCallError` when the path is not a directory or cannot be opened.
    package init(path: String) throws(SystemCallError) {
        self.path = path
        descriptor = try Descriptor(path: path, flags: O_RDONLY | O_DIRECTORY)
    }

    private init(taking descriptor: consuming Descriptor, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    private func full(_ name: String) -> String { path == "/" ? "/\(name)" : "\(path)/\(name)" }

    /// Opens an entry, close-on-exec. A symbolic link is refused with `ELOOP`.
    package borrowing func open(
        _ name: String, flags: Int32, mode: mode_t = 0o600
    ) throws(SystemCallError) -> Descriptor {
        let number = try systemCall("open", full(name)) {
            openat(descriptor.number, name, flags | O_NOFOLLOW | O_CLOEXEC, mode)
        }
        return Descriptor(taking: number)
    }

    /// The names of the entries, without `.` and `..`, sorted.
    package borrowing func names() throws(SystemCallError) -> [String] {
        // The stream closes the descriptor it is given, so it gets one of its own.
        let own = try systemCall("open", path) { openat(descriptor.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard let stream = fdopendir(own) else {
            let failure = SystemCallError("open", path)
            close(own)
            throw failure
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Renames an entry. An existing entry of the new name is replaced.
    package borrowing func rename(_ name: String, to newName: String) throws(SystemCallError) {
        try systemCall("rename", full(newName)) { renameat(descriptor.number, name, descriptor.number, newName) }
    }

    /// Writes the directory's entries to disk (fsync(2)).
    package borrowing func synchronize() throws(SystemCallError) { try descriptor.synchronize(subject: path) }

    /// Removes an entry; a directory is removed with its contents. A missing entry is not an error.
    package borrowing func remove(_ name: String) throws(SystemCallError) {
        // The directory is opened first, so a rename meanwhile cannot change which directory is emptied.
        let number = openat(descriptor.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if number < 0 {
            try unlink(name, flags: 0)
            return
        }
        let child = DirectoryHandle(taking: Descriptor(taking: number), path: full(name))
        // A process that still runs, such as an ssh that binds its socket, may make an entry meanwhile.
        for attempt in 1...Self.maximumTries {
            for entry in try child.names() { try child.remove(entry) }
            do throws(SystemCallError) {
                return try unlink(name, flags: AT_REMOVEDIR)
            } catch {
                guard error.code == ENOTEMPTY, attempt < Self.maximumTries else { throw error }
            }
        }
    }

    /// How many times a directory is emptied in which entries are being made.
    private static let maximumTries = 100

    private borrowing func unlink(_ name: String, flags: Int32) throws(SystemCallError) {
        do throws(SystemCallError) {
            try systemCall("unlink", full(name)) { unlinkat(descriptor.number, name, flags) }
        } catch {
            if !error.isMissing { throw error }
        }
    }

    /// Replaces a file atomically: it is written to a temporary name, synced and renamed.
    /// - Throws: `SystemCallError`. No temporary file is left then.
    package borrowing func replace(_ name: String, with bytes: [UInt8], mode: mode_t) throws(SystemCallError) {
        let temporary = TemporaryName.make()
        do throws(SystemCallError) {
            let file = try open(temporary, flags: O_WRONLY | O_CREAT | O_EXCL, mode: mode)
            try file.write(bytes, subject: full(name))
            try file.synchronize(subject: full(name))
            try rename(temporary, to: name)
        } catch {
            unlinkat(descriptor.number, temporary, 0)
            throw error
        }
    }
}

/// A name in an open directory. An entry of that name need not exist.
package struct DirectoryEntry: ~Copyable, Sendable {
    package let directory: DirectoryHandle
    package let name: String

    /// - Throws: `SystemCallError` when the parent directory of the path cannot be opened.
    package init(path: String) throws(SystemCallError) {
        let trimmed = path.count > 1 && path.hasSuffix("/") ? path.dropLast() : path[...]
        guard let slash = trimmed.lastIndex(of: "/") else {
            directory = try DirectoryHandle(path: ".")
            name = String(trimmed)
            return
        }
        directory = try DirectoryHandle(path: slash == trimmed.startIndex ? "/" : String(trimmed[..<slash]))
        name = String(trimmed[trimmed.index(after: slash)...])
    }
}
