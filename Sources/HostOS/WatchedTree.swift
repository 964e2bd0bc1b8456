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

        borrowing func hasOwnFile(_ path: TreeWatch.Path) -> Bool {
            let names = path.split(separator: UInt8(ascii: "/"))
            guard let parent = directory(Array(names.dropLast().joined(separator: [UInt8(ascii: "/")]))) else {
                return false
            }
            var status = stat()
            let name = (names.last.map(Array.init) ?? [UInt8(ascii: ".")]).map { CChar(bitPattern: $0) } + [0]
            guard fstatat(parent.descriptor.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return false }
            let kind = status.st_mode & S_IFMT
            return status.st_uid == HostProcess.uid
                && (kind == S_IFDIR || kind == S_IFREG && status.st_mode & 0o6000 == 0)
        }

        /// The entries, and which of them are directories.
        borrowing func entries() -> [(name: [UInt8], isDirectory: Bool)] {
            // The stream closes the descriptor it is given, so it gets one of its own.
            let own = openat(descriptor.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard own >= 0 else { return [] }
            guard let stream = fdopendir(own) else {
                close(own)
                return []
            }
            defer { closedir(stream) }
            var entries: [(name: [UInt8], isDirectory: Bool)] = []
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
                guard name != Array(".".utf8), name != Array("..".utf8) else { continue }
                // Not every file system tells the kind. Opening a directory tells it as well.
                let kind = Int(entry.pointee.d_type)
                entries.append((name, kind == Int(DT_DIR) || kind == Int(DT_UNKNOWN)))
            }
            return entries
        }
    }

    /// The watched directories of a tree. Only the queue of its `TreeWatch` uses it.
    final class WatchedTree: @unchecked Sendable {
        private let path: String
        private let events: Int32
        private let report: (TreeWatch.Report) -> Void
        private var paths: [Int32: TreeWatch.Path] = [:]
        private var watches: [TreeWatch.Path: Int32] = [:]
        private var isIncomplete = false

        init(_ path: String, events: Int32, report: @escaping (TreeWatch.Report) -> Void) {
            self.path = path
            self.events = events
            self.report = report
        }

        /// - Returns: false if the directory itself cannot be watched.
        func begin() -> Bool {
            _ = watch([])
            return !watches.isEmpty
        }

        /// Watches a directory and those below it.
        /// - Returns: the paths of everything below it.
        private func watch(_ top: TreeWatch.Path) -> Set<TreeWatch.Path> {
            var found: Set<TreeWatch.Path> = []
            var next = [top]
            guard let root = TreeDirectory(path) else { return [] }
            while let path = next.popLast() {
                guard let directory = root.directory(path) else { continue }
                guard watches.count < TreeWatch.maximumDirectories else {
                    miss("it has more than \(TreeWatch.maximumDirectories) directories")
                    break
                }
                let number = inotify_add_watch(
                    events, "/proc/self/fd/\(directory.descriptor.number)", InotifyEvent.wanted)
                guard number >= 0 else {
                    if errno == ENOSPC { miss("this account has no more watches (sysctl fs.inotify.max_user_watches)") }
                    continue
                }
                // A directory that was moved while it was looked for has its watch already.
                if let former = paths.updateValue(path, forKey: number) { watches[former] = nil }
                watches[path] = number
                for entry in directory.entries() {
                    let inner = path.isEmpty ? entry.name : path + [UInt8(ascii: "/")] + entry.name
                    found.insert(inner)
                    guard entry.isDirectory else { continue }
                    if inner.split(separator: UInt8(ascii: "/")).count < TreeWatch.maximumDepth {
                        next.append(inner)
                    } else {
                        miss("it has directories within more than \(TreeWatch.maximumDepth) others")
                    }
                }
            }
            return found
        }

        private func miss(_ reason: String) {
            guard !isIncomplete else { return }
            isIncomplete = true
            report(.incomplete(reason: reason))
        }

        /// The directory at this path has gone, with those below it.
        private func forget(_ top: TreeWatch.Path) {
            let within = top + [UInt8(ascii: "/")]
            for (path, number) in watches where path == top || path.starts(with: within) {
                inotify_rm_watch(events, number)
                watches[path] = nil
                paths[number] = nil
            }
        }

        /// Reads what has happened.
        /// - Returns: false if the directory itself is gone.
        func readEvents() -> Bool {
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            var changed: Set<TreeWatch.Path> = []
            defer { if !changed.isEmpty { report(.changed(changed)) } }
            while true {
                let count = read(events, &buffer, buffer.count)
                guard count > 0 else { return watches[[]] != nil }
                for event in InotifyEvent.all(in: buffer[..<count]) { take(event, &changed) }
            }
        }

        private func take(_ event: InotifyEvent, _ changed: inout Set<TreeWatch.Path>) {
            if event.has(IN_Q_OVERFLOW) {
                // What was lost may be a directory that was made.
                changed.formUnion(watch([]))
                return
            }
            guard let directory = paths[event.watch] else { return }
            if event.has(IN_IGNORED) {
                paths[event.watch] = nil
                watches[directory] = nil
                return
            }
            guard !event.name.isEmpty else { return }
            let path = directory.isEmpty ? event.name : directory + [UInt8(ascii: "/")] + event.name
            if event.has(IN_DELETE | IN_MOVED_FROM) {
                changed.insert(directory)
                if event.has(IN_ISDIR) { forget(path) }
            } else if event.has(IN_CREATE | IN_MOVED_TO) {
                changed.formUnion([directory, path])
                // Entries may have been made in it before it was watched.
                if event.has(IN_ISDIR) { changed.formUnion(watch(path)) }
            } else {
                changed.insert(path)
            }
        }
    }

    /// One event of inotify(7).
    private struct InotifyEvent {
        var watch: Int32
        private var mask: UInt32
        var name: [UInt8]

        static let wanted = UInt32(
            IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_ONLYDIR
                | IN_EXCL_UNLINK)

        func has(_ bits: Int32) -> Bool { mask & UInt32(bitPattern: bits) != 0 }

        /// - Parameter bytes: structures of the type inotify_event, each with the name behind it.
        static func all(in bytes: ArraySlice<UInt8>) -> [InotifyEvent] {
            bytes.withUnsafeBytes { bytes in
                var events: [InotifyEvent] = []
                var offset = 0
                while offset + 16 <= bytes.count {
                    let length = Int(bytes.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self))
                    let name = bytes.dropFirst(offset + 16).prefix(length).prefix { $0 != 0 }
                    events.append(
                        InotifyEvent(
                            watch: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self),
                            mask: bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self), name: Array(name)))
                    offset += 16 + length
                }
                return events
            }
        }
    }
#endif
