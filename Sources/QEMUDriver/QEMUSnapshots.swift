import GuestDriver
import HostModel
import HostOS
import NIOCore
import Synchronization

/// The snapshots within the qcow2 disks of a running machine (QMP `snapshot-save`, `snapshot-load`, `snapshot-delete`,
/// since QEMU 6.0). The first disk also keeps the machine's memory. The firmware's variables are part of that memory.
struct QEMUSnapshots: Sendable {
    let monitor: QMPConnection
    let jobs: QMPJobs

    /// The part of an answer to `query-block` that is used here (QAPI BlockInfo).
    struct Block: Decodable {
        struct Inserted: Decodable {
            struct Image: Decodable {
                var snapshots: [Snapshot]?
            }

            var node: String
            var isReadOnly: Bool
            var format: String
            /// The path of the file.
            var file: String
            var image: Image

            enum CodingKeys: String, CodingKey {
                case node = "node-name"
                case isReadOnly = "ro"
                case format = "drv"
                case file, image
            }
        }

        struct Snapshot: Decodable {
            var id: String
            var name: String
            var seconds: Int
            var memory: Int

            enum CodingKeys: String, CodingKey {
                case id, name
                case seconds = "date-sec"
                case memory = "vm-state-size"
            }
        }

        /// Our name of the drive, or QEMU's name of a flash image.
        var device: String
        var inserted: Inserted?
    }

    /// The guest's disks, its own first.
    private func disks() async throws -> [(name: String, Block.Inserted)] {
        let blocks: [Block] = try await monitor.query("query-block")
        return blocks.compactMap { block in
            guard let inserted = block.inserted, !inserted.isReadOnly, block.device.hasPrefix(Disk.id) else {
                return nil
            }
            return (block.device == Disk.id ? "the instance's disk" : "the additional \(block.device)", inserted)
        }
    }

    func list() async throws -> [DiskSnapshot] {
        (try await disks().first?.1.image.snapshots ?? []).map {
            DiskSnapshot(tag: $0.name, seconds: $0.seconds, memory: $0.memory)
        }
    }

    /// - Parameter willChange: is called right before the first disk changes, when all that can be checked was.
    /// - Throws: `HostError`, or `QMPConnection.Failure`. After a failed `apply` the machine may not run any more.
    func perform(_ change: SnapshotChange, willChange: () throws -> Void) async throws {
        let disks = try await disks()
        if let raw = disks.first(where: { $0.1.format != "qcow2" }) {
            throw HostError(
                .unavailable, "\(raw.name) has the format \(raw.1.format), which cannot contain snapshots",
                hint: "convert it while the instance is stopped: qemu-img convert -O qcow2")
        }
        try change.check(against: disks.map { ($0.name, ($0.1.image.snapshots ?? []).map(\.name)) })
        let kept = disks.first?.1.image.snapshots?.first { $0.name == change.tag.text }
        if change.verb == .apply, let kept, kept.memory == 0 {
            throw HostError(
                .unavailable,
                "the snapshot \(InstanceName.quoted(kept.name)) was taken without memory, of a guest that did not run",
                hint: "stop the instance, then apply it")
        }
        guard try await monitor.execute("query-status") == "running" else {
            throw HostError(.held, "the machine does not run just now", hint: "hostagent info shows why")
        }
        if change.verb == .apply { try requireOneMeaning(of: change.tag, disks) }
        if change.verb == .create { try await requireRoom(for: disks) }
        let nodes = disks.map(\.1.node)
        guard let first = nodes.first else { throw HostError(.unavailable, "the machine has no disk") }
        let command =
            switch change.verb {
            case .create: "snapshot-save"
            case .apply: "snapshot-load"
            case .delete: "snapshot-delete"
            }
        let memory = change.verb == .delete ? nil : first
        try willChange()
        try await jobs.run(on: monitor, "the snapshot was not \(change.verb.past)") { id in
            let arguments = Arguments(id: id, tag: change.tag.text, memory: memory, devices: nodes)
            try await monitor.execute(command, arguments, timeout: .seconds(Int64(SnapshotJournal.limit)))
        }
    }

    /// QEMU takes a tag for a number of a snapshot first, and for a name only then (block/qcow2-snapshot.c).
    private func requireOneMeaning(of tag: SnapshotTag, _ disks: [(name: String, Block.Inserted)]) throws(HostError) {
        for (name, inserted) in disks {
            for other in inserted.image.snapshots ?? [] where other.id == tag.text && other.name != tag.text {
                throw HostError(
                    .unavailable,
                    "QEMU would take the tag \(tag) for the number of the snapshot \(InstanceName.quoted(other.name)) of \(name)",
                    hint: "stop the instance, then apply the snapshot")
            }
        }
    }

    private struct MemorySize: Decodable {
        var bytes: Int

        enum CodingKeys: String, CodingKey { case bytes = "base-memory" }
    }

    /// QEMU does not give back what a snapshot that failed has taken, and a guest whose disk is full stands still.
    private func requireRoom(for disks: [(name: String, Block.Inserted)]) async throws {
        let memory: MemorySize = try await monitor.query("query-memory-size-summary")
        guard let file = disks.first?.1.file, let free = Files.freeBytes(file), free < memory.bytes else { return }
        throw HostError(
            .cannotCreate,
            "the snapshot may need \(memory.bytes >> 20) MiB for the guest's memory, and \(free >> 20) MiB are free beside \(file)",
            hint: "make room on that disk, or stop the instance: its snapshot needs no memory then")
    }

    private struct Arguments: Encodable {
        var id: String
        var tag: String
        var memory: String?
        var devices: [String]

        enum CodingKeys: String, CodingKey {
            case id = "job-id"
            case tag
            case memory = "vmstate"
            case devices
        }
    }
}

/// Waits for the ends of QEMU's jobs (qemu/docs/interop/qmp-spec, event `JOB_STATUS_CHANGE`).
final class QMPJobs: Sendable {
    private struct State {
        var last = 0
        var waiting: [String: AsyncStream<Void>.Continuation] = [:]
        var isClosed = false
    }

    private let state = Mutex(State())

    private struct Job: Decodable {
        var id: String
        var error: String?
    }

    /// Runs one job to its end.
    /// - Parameter begin: sends the command with the job's identifier.
    /// - Parameter failed: what a failure means, for the error.
    /// - Throws: `HostError` with QEMU's reason if the job fails.
    func run(on monitor: QMPConnection, _ failed: String, _ begin: (String) async throws -> Void) async throws {
        let (ended, continuation) = AsyncStream.makeStream(of: Void.self)
        let id = state.withLock { state in
            state.last += 1
            // Jobs of an earlier agent may still be in QEMU's list.
            let id = "hostagent-\(UInt32.random(in: 0 ... .max))-\(state.last)"
            if state.isClosed { continuation.finish() } else { state.waiting[id] = continuation }
            return id
        }
        defer { state.withLock { _ = $0.waiting.removeValue(forKey: id) } }
        try await begin(id)
        let isDone: Void? = try await withTimeLimit(.seconds(SnapshotJournal.limit)) { for await _ in ended {} }
        guard isDone != nil else {
            throw HostError(
                .failed, "\(failed): QEMU did not end the work within \(SnapshotJournal.limit / 60) minutes")
        }
        let job = try await (monitor.query("query-jobs") as [Job]).first { $0.id == id }
        guard let job else { throw QMPConnection.Failure.closed }
        try await monitor.execute("job-dismiss", ["id": id])
        if let error = job.error {
            throw HostError(.failed, "\(failed): \(error)", hint: "is there room on the host's disk?")
        }
    }

    /// - Parameter status: `concluded` once the job has ended (QAPI JobStatus).
    func changed(_ id: String, to status: String) {
        guard status == "concluded" else { return }
        state.withLock { $0.waiting[id] }?.finish()
    }

    /// The monitor is closed, so nothing more is heard of any job.
    func close() {
        let waiting = state.withLock { state in
            state.isClosed = true
            return state.waiting.values
        }
        for continuation in waiting { continuation.finish() }
    }
}
