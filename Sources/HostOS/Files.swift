#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// The kind of a directory entry.
package enum FileKind: Sendable, Equatable {
    case regular, directory, socket, other
}

/// Identifies a file or directory by its device and inode number.
package struct FileIdentity: Sendable, Hashable {
    private let device: UInt64
    private let inode: UInt64

    init(_ info: stat) { self.init(device: info.st_dev, inode: UInt64(info.st_ino)) }

    /// The type of a device's number differs: it is signed on macOS.
    init(device: some BinaryInteger, inode: UInt64) {
        self.device = UInt64(truncatingIfNeeded: device)
        self.inode = inode
    }
}

/// Operations on files and directories, by system call.
package enum Files {
    /// The kind of the entry that the path leads to through symbolic links; nil when there is none or it cannot be
    /// reached.
    package static func kind(_ path: String) -> FileKind? {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        switch info.st_mode & S_IFMT {
        case S_IFREG: return .regular
        case S_IFDIR: return .directory
        case S_IFSOCK: return .socket
        default: return .other
        }
    }

    /// Whether the last name of the path is a symbolic link, wherever it leads.
    package static func isLink(_ path: String) -> Bool {
        var info = stat()
        return lstat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFLNK
    }

    /// Device, inode, size and modification time. Equal as long as the file is the same one and unchanged.
    package static func fingerprint(_ path: String) -> String? {
        var info = stat()
        guard stat(path, &info) == 0 else { return nil }
        #if canImport(Glibc)
            return "\(info.st_dev):\(info.st_ino):\(info.st_size):\(info.st_mtim.tv_sec).\(info.st_mtim.tv_nsec)"
        #else
            return
                "\(info.st_dev):\(info.st_ino):\(info.st_size):\(info.st_mtimespec.tv_sec).\(info.st_mtimespec.tv_nsec)"
        #endif
    }

    /// Whether two paths lead to the same file or directory.
    package static func isSame(_ one: String, _ other: String) -> Bool {
        identity(one).map { $0 == identity(other) } ?? false
    }

    /// The target of a symbolic link; nil when the path is not one.
    package static func linkTarget(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let count = buffer.withUnsafeMutableBytes { bytes in
            bytes.bindMemory(to: CChar.self).baseAddress.map { readlink(path, $0, bytes.count) } ?? -1
        }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
    }

    /// Whether this process may create files in a directory.
    package static func isWritable(_ path: String) -> Bool { access(path, W_OK) == 0 }

    package static func size(_ path: String) -> Int? {
        var info = stat()
        return stat(path, &info) == 0 ? Int(info.st_size) : nil
    }

    /// Bytes that this account may still write to the file system of a path (statvfs(3)); nil if that cannot be told.
    package static func freeBytes(_ path: String) -> Int? {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else { return nil }
        return Int(clamping: UInt64(info.f_bavail).multipliedReportingOverflow(by: UInt64(info.f_frsize)).partialValue)
    }

    package static func isExecutable(_ path: String) -> Bool {
        kind(path) == .regular && access(path, X_OK) == 0
    }

    /// Sets the permission bits.
    package static func setMode(_ path: String, _ mode: mode_t) throws(SystemCallError) {
        try systemCall("chmod", path) { chmod(path, mode) }
    }

    /// The account that owns a file or directory; nil where there is none.
    package static func owner(_ path: String) -> UInt32? {
        var info = stat()
        return stat(path, &info) == 0 ? info.st_uid : nil
    }

    /// The first account other than root that owns a directory on the way to a path, or what is there, from its end
    /// upwards; nil if all of it is root's. Links are looked at themselves, and followed. What does not exist is left out.
    package static func firstForeignOwner(onTheWayTo path: String) -> UInt32? {
        var resolved: String?
        if let real = realpath(path, nil) {
            resolved = String(cString: real)
            free(real)
        }
        for start in [path, resolved].compactMap({ $0 }) {
            var current = start[...]
            while !current.isEmpty {
                var info = stat()
                if lstat(String(current), &info) == 0, info.st_uid != 0 { return info.st_uid }
                guard let slash = current.lastIndex(of: "/") else { break }
                current = current[..<slash]
            }
        }
        return nil
    }

    /// Identifies the file or directory a path leads to. The value is unique on this host as long as that file exists.
    package static func identity(_ path: String) -> FileIdentity? {
        var info = stat()
        return stat(path, &info) == 0 ? FileIdentity(info) : nil
    }

    /// The directory that an absolute path has its last name in; nil if there is none.
    static func directoryIdentity(ofEntry path: String) -> FileIdentity? {
        guard let slash = path.lastIndex(of: "/") else { return nil }
        return identity(slash == path.startIndex ? "/" : String(path[..<slash]))
    }

    /// Creates a directory and its missing parents, each with mode 0700.
    package static func makeDirectory(_ path: String) throws(SystemCallError) {
        if kind(path) == .directory { return }
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try makeDirectory(String(path[..<slash]))
        }
        do throws(SystemCallError) {
            try systemCall("mkdir", path) { mkdir(path, 0o700) }
        } catch {
            if error.code != EEXIST { throw error }
        }
    }

    /// The names in a directory, sorted, without `.` and `..`.
    package static func names(in path: String) throws(SystemCallError) -> [String] {
        try DirectoryHandle(path: path).names()
    }

    package static func move(_ from: String, to: String) throws(SystemCallError) {
        try systemCall("rename", to) { rename(from, to) }
    }

    /// Moves a finished file to its final name. The file is synced before the move and the directory after it, so a
    /// power loss leaves either the whole file or none.
    package static func moveSynced(_ from: String, to: String) throws(SystemCallError) {
        try Descriptor(path: from, flags: O_RDONLY).synchronize(subject: from)
        try move(from, to: to)
        try DirectoryEntry(path: to).directory.synchronize()
    }

    /// Moves a file or directory. Fails when something of the new name exists.
    package static func moveIfAbsent(_ from: String, to: String) throws(SystemCallError) {
        #if canImport(Glibc)
            try systemCall("rename", to) { clinux_rename_if_absent(from, to) }
        #else
            try systemCall("rename", to) { renamex_np(from, to, UInt32(RENAME_EXCL)) }
        #endif
    }

    /// Moves a directory to a free name beside its own. A symbolic link to a directory is not moved.
    /// - Returns: the new name; nil when there is no directory or it cannot be moved.
    package static func moveDirectoryAside(_ path: String) -> String? {
        var info = stat()
        guard lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else { return nil }
        return moveAside(path, to: path + ".aside")
    }

    /// Moves a file or directory to this name or, when it is taken, to the name with a number appended.
    /// - Returns: the new name; nil when it cannot be moved.
    package static func moveAside(_ path: String, to name: String) -> String? {
        let names = (1...100).lazy.map { $0 == 1 ? name : "\(name).\($0)" }
        return names.first { (try? moveIfAbsent(path, to: $0)) != nil }
    }

    /// Removes a file or a whole directory. A missing path is not an error. Symbolic links are removed, not followed.
    package static func remove(_ path: String) throws(SystemCallError) {
        do throws(SystemCallError) {
            let entry = try DirectoryEntry(path: path)
            try entry.directory.remove(entry.name)
        } catch {
            if !error.isMissing { throw error }
        }
    }

    /// Makes a symbolic link.
    package static func makeLink(_ path: String, to target: String) throws(SystemCallError) {
        try systemCall("symlink", path) { symlink(target, path) }
    }

    /// Removes a directory unless something is in it.
    package static func removeEmptyDirectory(_ path: String) { rmdir(path) }

    /// Copies a file. A later change or removal of the source does not affect the copy. The extents are shared where
    /// the file system can (ioctl_ficlone(2), clonefile(2)); otherwise the data is copied and holes are kept. The
    /// destination must not exist.
    package static func copy(_ source: String, to destination: String) throws(SystemCallError) {
        #if canImport(Glibc)
            let input = try Descriptor(path: source, flags: O_RDONLY)
            let entry = try DirectoryEntry(path: destination)
            let output = try entry.directory.open(entry.name, flags: O_WRONLY | O_CREAT | O_EXCL)
            if clinux_clone_file(output.number, input.number) == 0 {
                try output.synchronize(subject: destination)
                return
            }
            let size = lseek(input.number, 0, SEEK_END)
            try systemCall("truncate", destination) { ftruncate(output.number, size) }
            var position: off_t = 0
            while position < size {
                // lseek(2): SEEK_DATA is 3, SEEK_HOLE 4; ENXIO means that only a hole is left.
                let data = lseek(input.number, position, 3)
                if data < 0, errno == ENXIO { break }
                if data < 0 { throw SystemCallError("seek", source) }
                let hole = try systemCall("seek", source) { lseek(input.number, data, 4) }
                try copyRange(data..<hole, from: input, to: output, subject: destination)
                position = hole
            }
            try output.synchronize(subject: destination)
        #else
            // clonefile(2) follows a link, refuses a destination that exists, and keeps the mode of the source.
            if clonefile(source, destination, UInt32(CLONE_NOOWNERCOPY)) != 0 {
                try systemCall("copyfile", destination) {
                    copyfile(source, destination, nil, copyfile_flags_t(COPYFILE_DATA | COPYFILE_EXCL))
                }
            }
            let copy = try Descriptor(path: destination, flags: O_RDONLY)
            try systemCall("chmod", destination) { fchmod(copy.number, 0o600) }
            try copy.synchronize(subject: destination)
        #endif
    }

    #if canImport(Glibc)
        /// The kernel copies within one file system (copy_file_range(2)). Between two it may refuse; then this process
        /// copies.
        private static func copyRange(
            _ range: Range<off_t>, from input: borrowing Descriptor, to output: borrowing Descriptor, subject: String
        ) throws(SystemCallError) {
            var position = range.lowerBound
            var buffer: [UInt8] = []
            while position < range.upperBound {
                let rest = range.upperBound - position
                var count = buffer.isEmpty ? clinux_copy_range(input.number, position, output.number, rest) : -1
                if count < 0 {
                    if buffer.isEmpty, ![EXDEV, EINVAL, ENOSYS, EOPNOTSUPP].contains(errno) {
                        throw SystemCallError("copy", subject)
                    }
                    if buffer.isEmpty { buffer = [UInt8](repeating: 0, count: 1 << 20) }
                    let got = try systemCall("read", subject) {
                        pread(input.number, &buffer, min(buffer.count, rest), position)
                    }
                    count = try systemCall("write", subject) { pwrite(output.number, buffer, got, position) }
                }
                if count == 0 { throw SystemCallError("copy", subject, code: EIO) }
                position += count
            }
        }
    #endif
}
