#if canImport(Glibc)
    import Glibc

    /// The watched directories of a tree.
    struct WatchedTree: ~Copyable, Sendable {
        private let path: String
        private let events: Int32
        private let report: @Sendable (TreeWatch.Report) -> Void
        /// Opened once: what the path leads to later is another tree.
        private var root: TreeDirectory?
        private var paths: [Int32: TreeWatch.Path] = [:]
        private var watches: [TreeWatch.Path: Int32] = [:]
        private var isIncomplete = false

        init(_ path: String, events: Int32, report: @escaping @Sendable (TreeWatch.Report) -> Void) {
            self.path = path
            self.events = events
            self.report = report
        }

        /// - Returns: false if the directory itself cannot be watched, which is reported.
        mutating func begin() -> Bool {
            root = TreeDirectory(path)
            if root == nil { miss("it cannot be opened: \(String(cString: strerror(errno)))") }
            watch([])
            return watches[[]] != nil
        }

        func tellable(_ path: TreeWatch.Path) -> TreeWatch.Path? { root?.tellable(path) }

        /// Watches a directory and those below it.
        /// - Parameter found: gets the paths of what is below it, as far as there is room.
        private mutating func watch(_ top: TreeWatch.Path, _ found: inout Set<TreeWatch.Path>) {
            walk(top) { path, isDirectory in
                if found.count < TreeWatch.maximumReport || isDirectory { found.insert(path) }
            }
        }

        private mutating func watch(_ top: TreeWatch.Path) { walk(top) { _, _ in } }

        private mutating func walk(_ top: TreeWatch.Path, find: (_ path: TreeWatch.Path, _ isDirectory: Bool) -> Void) {
            var next = [top]
            while let path = next.popLast() {
                guard path.split(separator: UInt8(ascii: "/")).count <= TreeWatch.maximumDepth else {
                    miss("it has directories within more than \(TreeWatch.maximumDepth) others")
                    continue
                }
                // What has gone meanwhile is told of by its parent directory.
                guard let directory = root?.directory(path) else { continue }
                guard watches.count < TreeWatch.maximumDirectories else {
                    return miss("it has more than \(TreeWatch.maximumDirectories) directories")
                }
                let number = inotify_add_watch(
                    events, "/proc/self/fd/\(directory.descriptor.number)", InotifyEvent.wanted)
                guard number >= 0 else {
                    let reason = errno
                    miss(
                        reason == ENOSPC
                            ? "this account has no more watches (sysctl fs.inotify.max_user_watches)"
                            : "a directory in it cannot be watched: \(String(cString: strerror(reason)))")
                    continue
                }
                // A directory that was moved while it was looked for has its watch already.
                if let former = paths.updateValue(path, forKey: number), former != path { watches[former] = nil }
                watches[path] = number
                directory.forEachEntry { name, isDirectory in
                    let inner = path.isEmpty ? name : path + [UInt8(ascii: "/")] + name
                    find(inner, isDirectory)
                    if isDirectory { next.append(inner) }
                }
            }
        }

        private mutating func miss(_ reason: String) {
            guard !isIncomplete else { return }
            isIncomplete = true
            report(.incomplete(reason: reason))
        }

        /// The directory at this path has gone, with those below it.
        private mutating func forget(_ top: TreeWatch.Path) {
            let within = top + [UInt8(ascii: "/")]
            for (path, number) in watches where path == top || top.isEmpty || path.starts(with: within) {
                inotify_rm_watch(events, number)
                watches[path] = nil
                paths[number] = nil
            }
        }

        /// Reads what has happened.
        mutating func readEvents() {
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            var changed: Set<TreeWatch.Path> = []
            let count = read(events, &buffer, buffer.count)
            for event in InotifyEvent.all(in: buffer[..<max(count, 0)]) { take(event, &changed) }
            if !changed.isEmpty { report(.changed(changed)) }
        }

        private mutating func take(_ event: InotifyEvent, _ changed: inout Set<TreeWatch.Path>) {
            if event.has(IN_Q_OVERFLOW) {
                // Anything may have been made, moved or removed.
                forget([])
                watch([])
                changed.formUnion(watches.keys)
                return
            }
            guard let directory = paths[event.watch] else { return }
            if event.has(IN_IGNORED) {
                paths[event.watch] = nil
                if watches[directory] == event.watch { watches[directory] = nil }
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
                if event.has(IN_ISDIR) { watch(path, &changed) }
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
