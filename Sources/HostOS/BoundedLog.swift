// Dispatch sources may be used from any thread, but are not marked as sendable.
@preconcurrency import Dispatch
import Synchronization

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// Limits the size of a log that another process appends to (O_APPEND). When the log reaches half of the limit, its end
/// is kept as `….1` and the file is emptied. Only writes wake this type, so an idle log costs nothing.
package struct BoundedLog: Sendable {
    private let path: String
    private let limit: Int

    /// The pause after each check. Writes during the pause do not wake the check.
    private static let interval = Duration.milliseconds(50)

    /// - Parameter limit: bytes of both files together. A very fast writer can exceed it for a moment.
    package init(path: String, limit: Int) {
        self.path = path
        self.limit = limit
    }

    /// Limits the log until the task is cancelled. Returns at once when there is no such file.
    package func run() async {
        // Opened once: the file keeps growing even when somebody removes its name.
        guard let file = try? Descriptor(path: path, flags: O_RDWR | O_NOFOLLOW), let writes = Writes(path: path) else {
            return
        }
        repeat {
            await cut(file)
            guard (try? await Task.sleep(for: Self.interval)) != nil else { return }
        } while await writes.next()
    }

    /// Empties the log when it is too long.
    private func cut(_ file: borrowing Descriptor) async {
        guard file.size() > limit / 2 else { return }
        let (number, most) = (file.number, limit / 2)
        // A disk that hangs blocks a thread of its own, not one that others wait for.
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            Self.queue.async {
                // What is written between the copy and the cut is lost, so a copy that is old already is made again.
                for _ in 0..<Self.maximumCopies {
                    guard let size = Self.size(number) else { break }
                    let kept = min(size, most)
                    var end = [UInt8](repeating: 0, count: kept)
                    let got = pread(number, &end, kept, off_t(size - kept))
                    // On a full disk the end is lost. Stopping the growth matters more.
                    if got > 0 { try? TextFile.replace(path + ".1", with: Array(end[..<got])) }
                    if Self.size(number) == size { break }
                }
                _ = ftruncate(number, 0)
                done.resume()
            }
        }
    }

    private static func size(_ number: Int32) -> Int? {
        var status = stat()
        return fstat(number, &status) == 0 ? Int(status.st_size) : nil
    }

    /// How many copies are made of a log that is being written.
    private static let maximumCopies = 5

    private static let queue = DispatchQueue(label: "bounded-logs", attributes: .concurrent)

    /// Reports writes to a file, one at a time. The source is suspended after each event until the next one is asked
    /// for, so a guest that writes constantly does not wake this process constantly.
    private final class Writes: Sendable {
        private let source: any DispatchSourceProtocol
        private let events: AsyncStream<Void>
        private let gate: Gate

        /// Tracks whether the source is suspended, as it is at first. Resuming a source twice ends the program.
        private final class Gate: Sendable {
            private let state = Mutex((isClosed: true, isEnded: false))

            func open(_ source: any DispatchSourceProtocol, forGood: Bool = false) {
                state.withLock { state in
                    if state.isClosed { source.resume() }
                    state = (isClosed: false, isEnded: state.isEnded || forGood)
                }
            }

            func close(_ source: any DispatchSourceProtocol) {
                state.withLock { state in
                    if state.isClosed || state.isEnded { return }
                    source.suspend()
                    state.isClosed = true
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
            // A suspended source does not call its cancel handler.
            gate.open(source, forGood: true)
        }
    }
}
