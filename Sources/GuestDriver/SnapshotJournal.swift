import Foundation
import HostModel
import HostOS

/// The work on a snapshot that is under way, in a file of the instance's directory. It explains the silence of a machine
/// that writes its memory, and shows that disks may have gone back in part only.
package struct SnapshotJournal: Sendable {
    private struct Entry: Codable {
        var change: SnapshotChange.Verb
        var tag: String
        /// The machine that does the work; absent if the work is done in the files.
        var process: ProcessIdentity?
    }

    private let path: String

    /// How long a machine may work on a snapshot, in seconds. Writing the memory of a large guest to a slow disk takes
    /// minutes, and QEMU answers nothing meanwhile.
    package static let limit = 1800

    /// - Parameter directory: that of the instance.
    package init(directory: String) { path = directory + "/snapshot-change.json" }

    private var entry: Entry? {
        guard let bytes = try? TextFile.bytes(path, limit: 8192) else { return nil }
        return try? JSONDecoder().decode(Entry.self, from: Data(bytes))
    }

    /// Is to be called before the first disk changes.
    /// - Throws: `HostError` if the file cannot be written. Nothing must be changed then.
    package func begin(_ change: SnapshotChange, in process: ProcessIdentity?) throws(HostError) {
        do {
            let entry = Entry(change: change.verb, tag: change.tag.text, process: process)
            try TextFile.replace(path, with: Array(try JSONEncoder().encode(entry)))
        } catch {
            throw HostError(
                .cannotCreate, "cannot write \(path): \((error as? SystemCallError)?.reason ?? "\(error)")",
                hint: "is there room on that disk?")
        }
    }

    /// Is to be called when all disks are in one state.
    package func end() { try? Files.remove(path) }

    /// Whether this process may be silent because it works on a snapshot.
    package func explainsSilence(of process: ProcessIdentity) -> Bool { entry?.process == process }

    /// - Throws: `HostError` with `.badConfiguration` if the disks may be of different times.
    package func requireWhole(_ name: InstanceName) throws(HostError) {
        guard let entry, entry.change == .apply else { return }
        throw HostError(
            .badConfiguration,
            "the disks of \"\(name)\" may be of different times: applying the snapshot \(InstanceName.quoted(entry.tag)) was not completed",
            hint: "hostagent snapshot apply \(name) --tag \(ShellWord.quoted(entry.tag))")
    }
}

/// A guest that stands still because it could not return to a snapshot completely.
package struct GuestStandsStill: Error {
    package let reason: HostError

    package init(_ reason: HostError) { self.reason = reason }
}
