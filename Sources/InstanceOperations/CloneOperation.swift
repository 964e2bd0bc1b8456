import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

/// Makes a second instance with the disk of a first one.
package struct CloneOperation: Sendable {
    private let context: OperationContext
    private let directory: InstanceDirectory

    package init(context: OperationContext, directory: InstanceDirectory) {
        self.context = context
        self.directory = directory
    }

    /// The files that make an instance. All others belong to a run, or to the identity of one guest. Extents of disks are
    /// shared where the file system can.
    private static let files = [
        "lima.yaml", "hostagent.yaml", "lima-version", "basedisk", "diffdisk", "disk", "kernel", "kernel.cmdline",
        "initrd", "uefi-vars.fd", "snapshots.json",
    ]
    /// A snapshot's copy has the place of these, and contains no snapshots itself.
    private static let ofDisk: Set = ["diffdisk", "disk", "snapshots.json"]

    /// - Parameter change: changes the clone's `lima.yaml`.
    /// - Throws: `HostError`. Nothing is left then.
    package func run(
        to name: InstanceName, changing change: ConfigurationChange = { text throws(HostError) in text }
    ) async throws -> ChangeResult {
        let home = try context.home()
        let new = home.directory(of: name)
        try new.checkSocketPaths()
        guard new != directory else {
            throw HostError(
                .usage, "the clone needs another name than \"\(name)\"", hint: "hostagent clone \(name) NEW-NAME")
        }
        try Self.refuseExisting(new)
        var source: DiskSnapshot?
        if try directory.isHeld() {
            let snapshot = try await newestSnapshot()
            source = snapshot
            try await make(new, in: home, change) { clone in
                for file in Self.files where !Self.ofDisk.contains(file) { try copy(file, to: clone.path) }
                try await copyDisk(at: snapshot, to: clone)
            }
        } else {
            let held = try StoppedInstance(directory, to: "clone", context)
            try SnapshotJournal(directory: directory.path).requireWhole(directory.name)
            try await make(new, in: home, change) { clone in
                for file in Self.files { try copy(file, to: clone.path) }
                guard Files.kind(directory.disk) == nil || Files.kind(clone.disk) != nil else {
                    throw HostError(.cannotCreate, "the disk \(directory.disk) cannot be copied")
                }
                try await InstanceDisk.makeMovable(clone, accepting: [directory.baseDisk])
            }
            held.release()
        }
        return ChangeResult(name: name.text, dir: new.path, changed: true, snapshot: source?.tag)
    }

    /// Makes the clone under a temporary name, and renames it when it is complete.
    private func make(
        _ new: InstanceDirectory, in home: LimaHome, _ change: ConfigurationChange,
        _ fill: (InstanceDirectory) async throws -> Void
    ) async throws {
        let text = try ConfigurationChanges.changed(directory, for: new.name, change)
        let temporary = home.path + "/" + Leftovers.name(for: "creating", new.name)
        do {
            try Files.makeDirectory(temporary)
            let clone = InstanceDirectory(name: new.name, path: temporary)
            try await fill(clone)
            if let text { try TextFile.replace(clone.limaYAML, with: text) }
            try giveIdentity(clone)
            do {
                try Files.moveIfAbsent(temporary, to: new.path)
            } catch {
                try Self.refuseExisting(new)
                throw error
            }
        } catch {
            try? Files.remove(temporary)
            guard let error = error as? SystemCallError else { throw error }
            throw HostError(
                .cannotCreate, "cannot clone \(directory.path): \(error.subject): \(error.reason)",
                hint: error.isFull ? "make room on that disk" : nil)
        }
    }

    // MARK: The files

    private func copy(_ file: String, to target: String) throws {
        let source = directory.path + "/" + file
        // Lima's link from one name of the disk to the other. What lies behind any other link is copied.
        if let link = Files.linkTarget(source), link == "diffdisk" || link == directory.path + "/diffdisk" {
            return try Files.makeLink(target + "/" + file, to: "diffdisk")
        }
        guard let kind = Files.kind(source) else {
            if Files.linkTarget(source) == nil { return }
            throw HostError(.unavailable, "\(source) is a link to nothing", hint: "is a volume missing?")
        }
        guard kind == .regular else { throw HostError(.unavailable, "\(source) is not a file") }
        try Files.copy(source, to: target + "/" + file)
    }

    /// The newest snapshot of a running guest: its disk itself changes while it would be copied.
    private func newestSnapshot() async throws -> DiskSnapshot {
        let snapshots = try await AgentClient.ofRunning(directory).snapshots()
        guard let newest = snapshots.max(by: { $0.seconds < $1.seconds }) else {
            throw HostError(
                .held,
                "the instance \"\(directory.name)\" is running and has no snapshot; only a snapshot of it can be cloned",
                hint: "hostagent snapshot create \(directory.name) --tag clone, or hostagent stop \(directory.name)")
        }
        return newest
    }

    /// The clusters of a snapshot do not change, so they can be read while the guest writes others. If the snapshot was
    /// deleted meanwhile, its clusters may have been written over, so the copy is discarded.
    private func copyDisk(at snapshot: DiskSnapshot, to clone: InstanceDirectory) async throws {
        try await InstanceDisk.copy(directory, at: snapshot.tag, to: clone)
        guard try await AgentClient.ofRunning(directory).snapshots().contains(snapshot) else {
            throw HostError(.held, "the snapshot \(InstanceName.quoted(snapshot.tag)) was deleted while it was cloned")
        }
    }

    /// The clone's guest makes itself another machine-id and other keys at its first boot.
    private func giveIdentity(_ clone: InstanceDirectory) throws {
        let text = try TextFile.configuration(clone.settings) ?? ""
        let identity = String(UInt64.random(in: 0 ... .max), radix: 16)
        try TextFile.replace(clone.settings, with: Settings.setting("cloneIdentity", to: "\"\(identity)\"", in: text))
    }

    static func refuseExisting(_ directory: InstanceDirectory) throws(HostError) {
        guard Files.kind(directory.path) != nil else { return }
        throw HostError(
            .cannotCreate, "the instance \"\(directory.name)\" already exists",
            hint: "choose another name; hostagent delete \(directory.name) would remove the other instance")
    }
}
