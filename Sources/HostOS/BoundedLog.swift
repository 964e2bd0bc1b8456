// Dispatch's sources may be used from any thread, and are not marked so.
@preconcurrency import Dispatch
import Synchronization

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// Keeps a log bounded that another process appends to (O_APPEND): when it has half of its limit, its end is kept as
/// `….1` and the file is emptied. Woken by writes alone; a log that nobody writes costs nothing.
package struct BoundedLog: Sendable {
    private let path: String
    private let limit: Int

    /// How long writes are let go by before they are looked at again.
    private static let interval = Duration.milliseconds(50)

    /// - Parameter limit: bytes of the two files together. A writer that is very fast gets beyond it for a moment.
    package init(path: String, limit: Int) {
        self.path = path
        self.limit = limit
    }

    /// Looks after the log until the task is cancelled. Returns at once where there is no such file.
    package func run() async {
        // Opened once: the file goes on growing also when somebody removed its name.
        guard let file = try? Descriptor(path: path, flags: O_RDWR | O_NOFOLLOW), let writes = Writes(path: path) else {
            return
        }
        repeat {
            cut(file)
            guard (try? await Task.sleep(for: Self.interval)) != nil else { return }
        } while await writes.next()
    }

    /// Cuts the log where it is too long.
    private func cut(_ file: borrowing Descriptor) {
        let size = file.size()
        guard size > limit / 2 else { return }
        let kept = min(size, limit / 2)
        var end = [UInt8](repeating: 0, count: kept)
        let got = pread(file.number, &end, kept, off_t(size - kept))
        // On a full disk the end is lost; that the log ends growing is worth more.
        if got > 0 { try? TextFile.replace(path + ".1", with: Array(end[..<got])) }
        file.truncate(to: 0)
    }

    /// Tells of writes to a file, one at a time: a guest that writes all the time must not wake us all the time, so the
    /// source is suspended from each event until the next one is asked for.
    private final class Writes: Sendable {
        private let source: any DispatchSourceProtocol
        private let events: AsyncStream<Void>
        private let gate: Gate

        /// Whether the source is suspended, as it is at first: one that is resumed twice ends the program.
        private final class Gate: Sendable {
            private let isClosed = Mutex(true)

            func open(_ source: any DispatchSourceProtocol) {
                isClosed.withLock { isClosed in
                    if isClosed { source.resume() }
                    isClosed = false
                }
            }

            func close(_ source: any DispatchSourceProtocol) {
                isClosed.withLock { isClosed in
                    if !isClosed { source.suspend() }
                    isClosed = true
                }
            }
        }

        init?(path: String) {
            #if canImport(Glibc)
                let descriptor = clinux_watch_writes(path)
                guard descriptor >= 0 else { return nil }
                let source = DispatchSource.makeReadSource(fileDescriptor: descriptor)
                let takeEvents: @Sendable () -> Void = {
                    var bytes = [UInt8](repeating: 0, count: 4096)
                    while read(descriptor, &bytes, bytes.count) > 0 {}
                }
            #else
                let descriptor = open(path, O_EVTONLY | O_CLOEXEC)
                guard descriptor >= 0 else { return nil }
                let source = DispatchSource.makeFileSystemObjectSource(fileDescriptor: descriptor, eventMask: .extend)
                let takeEvents: @Sendable () -> Void = {}
            #endif
            let (events, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            let gate = Gate()
            source.setEventHandler {
                takeEvents()
                gate.close(source)
                continuation.yield()
            }
            source.setCancelHandler {
                close(descriptor)
                continuation.finish()
            }
            self.source = source
            self.events = events
            self.gate = gate
        }

        /// Waits for the next write; false when the task was cancelled.
        func next() async -> Bool {
            gate.open(source)
            for await _ in events { return true }
            return false
        }

        deinit {
            source.cancel()
            // A suspended source is never told that it was cancelled.
            gate.open(source)
        }
    }
}
