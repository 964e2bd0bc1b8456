#if canImport(Glibc)
    import Glibc

    /// An open directory, below which paths of bytes are looked up without following a symbolic link.
    struct TreeDirectory: ~Copyable {
        let descriptor: Descriptor

        init?(_ path: String) {
            guard let opened = try? Descriptor(path: path, flags: O_RDONLY | O_DIRECTORY) else { return nil }
            descriptor = opened
        }

        private init(taking descriptor: consuming Descriptor) { self.descriptor = descriptor }

        /// A directory below this one; nil if the path leads to none.
        borrowing func directory(_ path: TreeWatch.Path) -> TreeDirectory? {
            guard var current = step(".".utf8.map { $0 }) else { return nil }
            for name in path.split(separator: UInt8(ascii: "/")) {
                guard let next = current.step(Array(name)) else { return nil }
                current = next
            }
            return current
        }

        private borrowing func step(_ name: [UInt8]) -> TreeDirectory? {
            let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
            let number = openat(descriptor.number, name.map { CChar(bitPattern: $0) } + [0], flags)
            return number < 0 ? nil : TreeDirectory(taking: Descriptor(taking: number))
        }

        /// See `TreeWatch.tellable`.
        borrowing func tellable(_ path: TreeWatch.Path) -> TreeWatch.Path? {
            let names = path.split(separator: UInt8(ascii: "/"))
            let parentPath = Array(names.dropLast().joined(separator: [UInt8(ascii: "/")]))
            guard let parent = directory(parentPath) else { return nil }
            var status = stat()
            let name = (names.last.map(Array.init) ?? [UInt8(ascii: ".")]).map { CChar(bitPattern: $0) } + [0]
            guard fstatat(parent.descriptor.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0,
                status.st_uid == HostProcess.uid
            else { return nil }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: return path
            case S_IFREG: return status.st_mode & 0o6111 == 0 ? path : tellable(parentPath)
            default: return nil
            }
        }

        /// Visits the entries. Not every file system tells which are directories; what may be one counts as one.
        borrowing func forEachEntry(_ visit: (_ name: [UInt8], _ isDirectory: Bool) -> Void) {
            // The stream closes the descriptor it is given, so it gets one of its own.
            let own = openat(descriptor.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard own >= 0 else { return }
            guard let stream = fdopendir(own) else {
                close(own)
                return
            }
            defer { closedir(stream) }
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
                guard name != Array(".".utf8), name != Array("..".utf8) else { continue }
                let kind = Int(entry.pointee.d_type)
                visit(name, kind == Int(DT_DIR) || kind == Int(DT_UNKNOWN))
            }
        }
    }
#endif
