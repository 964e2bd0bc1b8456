// Dispatch sources may be used from any thread, but are not marked as sendable.
@preconcurrency import Dispatch

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// Reports when the entries of a directory change (inotify(7), kqueue).
package final class DirectoryWatch: Sendable {
    package enum Change: Sendable {
        /// An entry is removed or moved away, or the directory itself.
        case losses
        /// An entry is made or moved there. The end of the directory itself is reported too.
        case arrivals
    }

    /// Yields after each change; several changes may yield once, and on Darwin those of the other kind do too. Finishes
    /// with the watch, or at once when the watch cannot be set up.
    package let changes: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation
    private let source: (any DispatchSourceProtocol)?

    package init(path: String, of change: Change = .losses) {
        let (changes, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.changes = changes
        self.continuation = continuation
        #if canImport(Glibc)
            let descriptor = clinux_watch_directory(path, change == .arrivals ? 1 : 0)
        #else
            let descriptor = open(path, O_EVTONLY | O_CLOEXEC)
        #endif
        guard descriptor >= 0 else {
            source = nil
            continuation.finish()
            return
        }
        #if canImport(Glibc)
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor)
            source.setEventHandler {
                var events = [UInt8](repeating: 0, count: 4096)
                while read(descriptor, &events, events.count) > 0 {}
                continuation.yield()
            }
        #else
            let source = DispatchSource.makeFileSystemObjectSource(
                fileDescriptor: descriptor, eventMask: [.write, .delete, .rename])
            source.setEventHandler { continuation.yield() }
        #endif
        source.setCancelHandler { close(descriptor) }
        source.resume()
        self.source = source
    }

    deinit {
        source?.cancel()
        continuation.finish()
    }
}
