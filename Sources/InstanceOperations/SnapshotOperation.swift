import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

/// Takes and deletes snapshots of an instance's disks, and returns to them: through the agent if there is one, otherwise
/// in the files.
package struct SnapshotOperation: Sendable {
    private let context: OperationContext
    private let directory: InstanceDirectory

    package init(context: OperationContext, directory: InstanceDirectory) {
        self.context = context
        self.directory = directory
    }

    /// The snapshots of the instance's own disk.
    /// - Throws: `HostError`.
    package func list() async throws -> [DiskSnapshot] {
        try directory.requireExistence()
        if try directory.isHeld() { return try await AgentClient.ofRunning(directory).snapshots() }
        return try await StoredSnapshots(directory, additional: []).list()
    }

    /// - Throws: `HostError` with the reason why it was not done.
    package func perform(_ change: SnapshotChange) async throws {
        try directory.requireExistence()
        if try directory.isHeld() {
            return try await AgentClient.ofRunning(directory).change(change)
        }
        let held = try StoppedInstance(directory, to: "change the snapshots of", context)
        let instance = try Instance(directory)
        let store = DiskStore(home: try context.home())
        let names = instance.configuration.additionalDisks.map(\.name)
        defer { store.release(names, by: directory) }
        let additional = try await store.claim(names, for: directory)
        let snapshots = try StoredSnapshots(directory, additional: additional)
        let journal = SnapshotJournal(directory: directory.path)
        if change.verb == .create { try journal.requireWhole(directory.name) }
        try await snapshots.perform(change) {
            guard change.verb == .apply else { return }
            try journal.begin(change, in: nil)
            // A guest that returns to an earlier state is set up again at its next boot.
            try Files.remove(directory.seedApplied)
        }
        if change.verb == .apply { journal.end() }
        held.release()
    }
}
