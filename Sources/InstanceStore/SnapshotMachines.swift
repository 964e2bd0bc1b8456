import Foundation
import HostModel
import HostOS

/// The machine of which each snapshot with memory was taken. The memory fits no other machine, and QEMU refuses it only
/// after the disks have gone back.
package struct SnapshotMachines: Sendable {
    private let path: String

    /// Keys of `lima.yaml` that change the machine or its devices.
    private static let keys: Set = [
        "additionalDisks", "arch", "containerd", "cpus", "cpuType", "firmware", "memory", "network", "vmOpts",
    ]

    /// How many ports for mounts the machine has. Machines of earlier versions have none to spare.
    private static let mountPorts = "@mountPorts"

    package init(_ directory: InstanceDirectory) { path = directory.path + "/snapshots.json" }

    /// - Parameter digests: those of the keys that the guest was started with; nil if that is not known.
    /// - Parameter mountPorts: how many ports for mounts it has; nil if that is not known.
    /// - Returns: what has to be equal for a snapshot to fit; nil if that is not known.
    package static func machine(startedWith digests: [String: String]?, accelerator: String, mountPorts ports: Int?)
        -> [String: String]?
    {
        var machine = digests?.filter { keys.contains($0.key) }
        machine?["accelerator"] = accelerator
        machine?[mountPorts] = ports.map { "\($0)" }
        return machine
    }

    /// The machine of each snapshot, by its tag. The file is a claim. A wrong one costs a refusal, or an attempt that QEMU
    /// refuses.
    private var records: [String: [String: String]] {
        guard let bytes = try? TextFile.bytes(path, limit: 1 << 20) else { return [:] }
        return (try? JSONDecoder().decode([String: [String: String]].self, from: Data(bytes))) ?? [:]
    }

    /// - Parameter machine: nil removes the record.
    /// - Throws: an error if the file cannot be written.
    package func record(_ machine: [String: String]?, for tag: String) throws {
        var records = records
        records[tag] = machine
        try TextFile.replace(path, with: Array(try JSONEncoder().encode(records)))
    }

    /// - Throws: `HostError` with `.badConfiguration` if the snapshot is known to be of another machine.
    package func requireSame(_ machine: [String: String]?, for tag: SnapshotTag) throws(HostError) {
        guard let now = machine, let then = records[tag.text] else { return }
        if let ports = now[Self.mountPorts], ports != then[Self.mountPorts] {
            throw HostError(
                .badConfiguration,
                "the snapshot \(InstanceName.quoted(tag.text)) was taken of a machine with another number of ports for mounts"
                    + (then[Self.mountPorts] == nil ? ", as earlier versions of hostagent made them" : ""),
                hint: "stop the instance and apply the snapshot to its disks")
        }
        let different = Set(now.keys).union(then.keys).subtracting([Self.mountPorts]).filter { now[$0] != then[$0] }
            .sorted()
        guard !different.isEmpty else { return }
        throw HostError(
            .badConfiguration,
            "the snapshot \(InstanceName.quoted(tag.text)) was taken of a machine with another value of: "
                + different.joined(separator: ", "),
            hint: "set that back and restart the instance, or stop it and apply the snapshot to its disks")
    }
}
