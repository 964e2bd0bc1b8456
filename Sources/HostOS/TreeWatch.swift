// Dispatch sources may be used from any thread, but are not marked as sendable.
@preconcurrency import Dispatch

#if canImport(Glibc)
    import Glibc
    import Synchronization
#endif

/// Reports what is written, made, moved or removed in a directory and in the directories below it (inotify(7)).
///
/// Others may write there too. They cannot make the watch look at another place, because no symbolic link below the
/// directory is followed. On Darwin nothing can be watched yet, so the stream of reports ends at once.
package final class TreeWatch: Sendable {
    /// A path relative to the directory, in the bytes of the file system. The empty path is the directory itself.
    package typealias Path = [UInt8]

    package enum Report: Sendable, Equatable {
        /// What has other contents than before: files, and directories whose entries are others.
        case changed(Set<Path>)
        /// Some directories are not watched. Reported once.
        case incomplete(reason: String)
    }

    /// Ends with the watch, or at once if the directory cannot be watched.
    package let reports: AsyncStream<Report>
    /// Owns everything that looks into the directory, which may be on a file system that hangs.
    private let queue = DispatchQueue(label: "tree watch")
    private let continuation: AsyncStream<Report>.Continuation
    private let source: (any DispatchSourceProtocol)?
    #if canImport(Glibc)
        private let tree: SharedTree?

        /// What the queue works on. Only the queue takes the lock, so nobody waits for it.
        private final class SharedTree: Sendable {
            let state: Mutex<WatchedTree>

            init(_ tree: consuming sending WatchedTree) { state = Mutex(tree) }
        }
    #endif

    /// Each watched directory keeps about a kilobyte of the kernel's memory.
    package static let maximumDirectories = 1 << 15
    /// The longest path that is looked at, in components.
    package static let maximumDepth = 64
    /// The files that one report tells of. What is beyond that is told of by its directory.
    package static let maximumReport = 1 << 12
    /// After work of this length, nothing is done for nine times as long: whoever may write there can cause work by moving
    /// large directories.
    private static let longWork = 0.02
    /// Seconds.
    private static let longestRest = 30.0

    package init(path: String) {
        let (reports, continuation) = AsyncStream.makeStream(of: Report.self)
        self.reports = reports
        self.continuation = continuation
        #if canImport(Glibc)
            let descriptor = inotify_init1(O_NONBLOCK | O_CLOEXEC)
            guard descriptor >= 0 else {
                (source, tree) = (nil, nil)
                let reason = String(cString: strerror(errno))
                continuation.yield(.incomplete(reason: "\(reason) (sysctl fs.inotify.max_user_instances)"))
                continuation.finish()
                return
            }
            let tree = SharedTree(WatchedTree(path, events: descriptor) { continuation.yield($0) })
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
            source.setEventHandler { [queue, source] in
                let began = HostProcess.monotonicSeconds
                tree.state.withLock { $0.readEvents() }
                let seconds = HostProcess.monotonicSeconds - began
                guard seconds > Self.longWork else { return }
                source.suspend()
                queue.asyncAfter(deadline: .now() + min(9 * seconds, Self.longestRest)) { source.resume() }
            }
            source.setCancelHandler { close(descriptor) }
            source.resume()
            (self.source, self.tree) = (source, tree)
            queue.async { if !tree.state.withLock({ $0.begin() }) { continuation.finish() } }
        #else
            source = nil
            continuation.finish()
        #endif
    }

    deinit {
        source?.cancel()
        continuation.finish()
    }

    /// What of these paths others may be told of: directories and regular files of this account. A file that can be executed
    /// is replaced by its directory, because it may get the bit of set-user-ID or capabilities at any moment, and a change of
    /// its owner would remove them. Sorted; each path occurs once.
    package func tellable(_ paths: [Path]) async -> [Path] {
        #if canImport(Glibc)
            await withCheckedContinuation { done in
                queue.async { [tree] in
                    let found = tree?.state.withLock { tree in Set(paths.compactMap { tree.tellable($0) }) } ?? []
                    done.resume(returning: found.sorted { $0.lexicographicallyPrecedes($1) })
                }
            }
        #else
            []
        #endif
    }
}
