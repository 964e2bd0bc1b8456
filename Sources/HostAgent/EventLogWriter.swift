import AgentAPI
import Dispatch
import HostOS
import Synchronization

/// Writes the lines of an event log to disk. It uses a queue of its own, so that a full disk or a disk that hangs
/// delays nothing else. Lines that cannot be written wait, up to a limit. The file's size is bounded; the newest lines
/// are kept.
package final class EventLogWriter: Sendable {
    /// An event as a line of the log.
    package struct Line: Sendable {
        package let seq: Int
        package let text: String

        package init(seq: Int, text: String) {
            self.seq = seq
            self.text = text
        }
    }

    private struct State {
        /// Lines that are not on disk yet, in order.
        var pending: [Line] = []
        /// Lines that the next agent needs. They are never dropped, and are written first to each new file.
        var standing: [Line] = []
        /// Whether a drain is queued or running.
        var isDraining = false
        /// Finished when nothing is pending.
        var waiters: [AsyncStream<Void>.Continuation] = []
        var hasComplained = false
    }

    /// The file, which is written to only on the queue.
    private struct Output: ~Copyable {
        var file: Descriptor

        init(path: String) throws(SystemCallError) {
            file = try Descriptor(path: path, flags: Descriptor.appending)
            size = file.size()
        }

        /// The size of the complete lines in the file, in bytes.
        var size: Int
    }

    private let path: String
    private let limit: Int
    private let queue = DispatchQueue(label: "event-log")
    private let state = Mutex(State())
    private let output: Mutex<Output>

    /// The maximum number of lines that wait for the disk. The oldest ones are dropped.
    private static let capacity = 4096
    /// The time in seconds before a failed write is retried.
    private static let retryInterval = 1.0

    /// Begins a new file. The previous one is kept as `….1`.
    /// - Parameter limit: the maximum size of both files together, in bytes.
    /// - Throws: `SystemCallError` if the file cannot be created.
    package convenience init(path: String, limit: Int) throws(SystemCallError) {
        if Files.kind(path) != nil { try Files.move(path, to: EventLogFiles.older(path)) }
        try self.init(appendingTo: path, limit: limit)
    }

    /// Continues an existing file.
    package init(appendingTo path: String, limit: Int) throws(SystemCallError) {
        self.path = path
        self.limit = limit
        output = Mutex(try Output(path: path))
    }

    /// - Parameter standing: the first lines of each new file from now on; nil keeps the current ones.
    package func append(_ line: Line, standing: [Line]? = nil) {
        let isIdle = state.withLock { state in
            if let standing { state.standing = standing }
            state.pending.append(line)
            if state.pending.count > Self.capacity { state.pending.removeFirst() }
            defer { state.isDraining = true }
            return !state.isDraining
        }
        if isIdle { queue.async { self.drain() } }
    }

    /// The lines that are not on disk yet.
    package var pending: [Line] { state.withLock { $0.pending } }

    /// Waits until all lines are on disk, at most for this many seconds.
    /// - Returns: false if the time ran out.
    @discardableResult
    package func flush(seconds: Double) async -> Bool {
        let (written, continuation) = AsyncStream.makeStream(of: Void.self)
        let isDone = state.withLock { state in
            if state.pending.isEmpty { return true }
            state.waiters.append(continuation)
            return false
        }
        if isDone { return true }
        DispatchQueue.global().asyncAfter(deadline: .now() + seconds) { continuation.finish() }
        for await _ in written {}
        return state.withLock { $0.pending.isEmpty }
    }

    /// If the file was removed or replaced, creates it again.
    /// - Parameter lines: the content of the new file.
    func restore(_ lines: [Line]) {
        queue.async {
            self.output.withLock { output in
                guard !output.file.isStill(at: self.path), let new = try? Output(path: self.path) else { return }
                output = new
                // Write the newest lines, and all lines that are not on disk yet.
                let pending = self.state.withLock { $0.pending }
                let first = pending.first?.seq ?? .max
                let newest = lines.filter { $0.seq < first } + pending
                let written = Self.write(self.standing(before: newest) + newest, to: &output, path: self.path)
                let last = written.last?.seq ?? 0
                self.state.withLock { $0.pending.removeAll { $0.seq <= last } }
            }
        }
    }

    /// Whether the path still leads to the file that is written to.
    var isInPlace: Bool {
        // A write may be blocked by a disk that hangs. Do not wait for it.
        output.withLockIfAvailable { $0.file.isStill(at: path) } ?? true
    }

    /// Blocks until the lines appended so far have been written or their write has failed.
    func waitForWrites() { queue.sync {} }

    // MARK: On the queue

    /// The oldest waiting lines, limited to a fraction of the log's size.
    private var nextBatch: [Line] {
        var size = 0
        return state.withLock { state in
            Array(
                state.pending.prefix { line in
                    defer { size += line.text.utf8.count }
                    return size < limit / 4
                })
        }
    }

    private func drain() {
        while true {
            let batch = nextBatch
            let written = output.withLock { output in
                rotate(&output, before: batch)
                return Self.write(batch, to: &output, path: path)
            }
            let (waiters, isDone, mustRetry) = state.withLock { state in
                let last = written.last?.seq ?? 0
                state.pending.removeAll { $0.seq <= last }
                let failed = written.count < batch.count
                let isEmpty = state.pending.isEmpty
                let waiters = isEmpty ? state.waiters : []
                if isEmpty { (state.waiters, state.isDraining, state.hasComplained) = ([], false, false) }
                return (waiters, isEmpty, failed)
            }
            for waiter in waiters { waiter.finish() }
            if isDone { return }
            if mustRetry {
                complain()
                queue.asyncAfter(deadline: .now() + Self.retryInterval) { self.drain() }
                return
            }
        }
    }

    /// - Returns: the lines that were written, which are the first ones of `lines`.
    private static func write(_ lines: [Line], to output: inout Output, path: String) -> ArraySlice<Line> {
        let bytes = lines.reduce(into: [UInt8]()) { $0.append(contentsOf: $1.text.utf8) }
        do {
            try output.file.write(bytes, subject: path)
            output.size += bytes.count
            return lines[...]
        } catch {
            // The bytes may have been written in part. Remove them, then write line by line.
            output.file.truncate(to: output.size)
        }
        for (index, line) in lines.enumerated() {
            do {
                try output.file.write(Array(line.text.utf8), subject: path)
                output.size += line.text.utf8.count
            } catch {
                output.file.truncate(to: output.size)
                return lines[..<index]
            }
        }
        return lines[...]
    }

    /// A file that would exceed half of the limit becomes the older one. If it cannot be moved, writing to it
    /// continues.
    private func rotate(_ output: inout Output, before batch: [Line]) {
        let size = batch.reduce(0) { $0 + $1.text.utf8.count }
        guard output.size > 0, output.size + size > limit / 2, output.file.isStill(at: path) else { return }
        guard (try? Files.move(path, to: EventLogFiles.older(path))) != nil else { return }
        guard let new = try? Output(path: path) else {
            try? Files.move(EventLogFiles.older(path), to: path)
            return
        }
        output = new
        _ = Self.write(standing(before: batch), to: &output, path: path)
    }

    /// The lines that a new file begins with, when these lines follow.
    private func standing(before lines: [Line]) -> [Line] {
        let first = lines.first?.seq ?? .max
        return state.withLock { $0.standing }.filter { $0.seq < first }
    }

    /// A full disk must not stop the guest. The problem is reported once, on standard error.
    private func complain() {
        let isNews = state.withLock { state in
            defer { state.hasComplained = true }
            return !state.hasComplained
        }
        if isNews { StandardStreams.error("hostagent: cannot write \(path); events are kept in memory for now\n") }
    }
}
