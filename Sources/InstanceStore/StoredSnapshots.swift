import Foundation
import HostModel
import HostOS

/// The snapshots within the disks of an instance that does not run (qemu-img(1)).
package struct StoredSnapshots: Sendable {
    /// A disk with its name in messages.
    private struct Disk: Sendable {
        var name: String
        var path: String
        /// QEMU's name of it.
        var format: String
    }

    private let disks: [Disk]

    /// - Parameter additional: the disks that the instance has beside its own.
    /// - Throws: `HostError` if there is no disk.
    package init(_ directory: InstanceDirectory, additional: [DiskStore.Disk]) throws(HostError) {
        guard let own = try InstanceDisk(directory) else {
            throw HostError(
                .unavailable, "the instance \"\(directory.name)\" has no disk yet; its first start makes it",
                hint: "hostagent start \(directory.name)")
        }
        disks =
            [Disk(name: "the instance's disk", path: directory.disk, format: own.formatName)]
            + additional.map { Disk(name: "the disk \($0.name)", path: $0.file, format: $0.format ?? "unknown") }
    }

    private func requireFormat() throws(HostError) {
        guard let raw = disks.first(where: { $0.format != "qcow2" }) else { return }
        throw HostError(
            .unavailable, "\(raw.name) has the format \(raw.format), which cannot contain snapshots",
            hint: "qemu-img convert -O qcow2 makes a copy that can")
    }

    /// The part of the answer of `qemu-img info` that is used here (QAPI ImageInfo).
    private struct Image: Decodable {
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
        var snapshots: [Snapshot]?
    }

    private func snapshots(of disk: Disk) async throws -> [Image.Snapshot] {
        let result = try await Tool("qemu-img", ["info", "-U", "-f", "qcow2", "--output=json", disk.path]).run(
            outputLimit: 16 << 20)
        guard result.succeeded, !result.isCut,
            let image = try? JSONDecoder().decode(Image.self, from: Data(result.output.utf8))
        else { throw HostError(.failed, "cannot read the snapshots of \(disk.path): \(result.complaint)") }
        return image.snapshots ?? []
    }

    /// The snapshots of the instance's own disk.
    package func list() async throws -> [DiskSnapshot] {
        guard let own = disks.first, own.format == "qcow2" else { return [] }
        return try await snapshots(of: own).map { DiskSnapshot(tag: $0.name, seconds: $0.seconds, memory: $0.memory) }
    }

    /// - Parameter willChange: is called right before the first disk changes, when all that can be checked was.
    /// - Throws: `HostError`. A snapshot that could not be taken of every disk is taken of none.
    package func perform(_ change: SnapshotChange, willChange: () throws -> Void) async throws {
        try requireFormat()
        var found: [(disk: Disk, snapshots: [Image.Snapshot])] = []
        for disk in disks { found.append((disk, try await snapshots(of: disk))) }
        try change.check(against: found.map { ($0.disk.name, $0.snapshots.map(\.name)) })
        try willChange()
        var done: [Disk] = []
        for (disk, snapshots) in found {
            let snapshot = snapshots.first { $0.name == change.tag.text }
            do {
                switch change.verb {
                case .create: try await run("-c", change.tag.text, disk)
                // qemu-img takes a name that looks like another snapshot's number for that number.
                case .apply: if let snapshot { try await run("-a", snapshot.id, disk) }
                case .delete: if snapshot != nil { try await run("-d", change.tag.text, disk) }
                }
                done.append(disk)
            } catch {
                if change.verb == .create {
                    for disk in done { try? await run("-d", change.tag.text, disk) }
                }
                throw HostError(
                    error.code,
                    error.message
                        + (change.verb == .apply && !done.isEmpty
                            ? "; it was applied to \(done.map(\.name).joined(separator: ", ")) before" : ""),
                    hint:
                        "is there room on the host's disk? qemu-img check \(disk.path) shows what is wrong with the disk"
                )
            }
        }
    }

    private func run(_ option: String, _ name: String, _ disk: Disk) async throws(HostError) {
        do {
            let result = try await Tool("qemu-img", ["snapshot", "-q", option, name, disk.path]).run()
            if result.succeeded { return }
            throw HostError(.failed, "cannot change the snapshots of \(disk.path): \(result.complaint)")
        } catch {
            throw error as? HostError ?? HostError(.failed, "\(error)")
        }
    }
}
