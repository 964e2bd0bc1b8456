// Dispatch sources may be used from any thread, but are not marked as sendable.
@preconcurrency import Dispatch

#if canImport(Glibc)
    import Glibc
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
    private let directory: String

    /// Each watched directory keeps about a kilobyte of the kernel's memory.
    package static let maximumDirectories = 1 << 15
    /// The longest path that is looked at, in components.
    package static let maximumDepth = 64

    package init(path: String) {
        directory = path
        let (reports, continuation) = AsyncStream.makeStream(of: Report.self)
        self.reports = reports
        self.continuation = continuation
        #if canImport(Glibc)
            let descriptor = inotify_init1(O_NONBLOCK | O_CLOEXEC)
            guard descriptor >= 0 else {
                source = nil
                continuation.finish()
                return
            }
            let tree = WatchedTree(path, events: descriptor) { continuation.yield($0) }
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
            source.setEventHandler { if !tree.readEvents() { continuation.finish() } }
            source.setCancelHandler { close(descriptor) }
            source.resume()
            self.source = source
            queue.async { if !tree.begin() { continuation.finish() } }
        #else
            source = nil
            continuation.finish()
        #endif
    }

    deinit {
        source?.cancel()
        continuation.finish()
    }

    /// Those of the paths that lead to a directory or a regular file which belongs to this account, without the bits of
    /// set-user-ID and set-group-ID.
    package func ownFiles(_ paths: [Path]) async -> [Path] {
        #if canImport(Glibc)
            await withCheckedContinuation { done in
                queue.async { [directory] in
                    let root = TreeDirectory(directory)
                    done.resume(returning: paths.filter { root?.hasOwnFile($0) ?? false })
                }
            }
        #else
            []
        #endif
    }
}
