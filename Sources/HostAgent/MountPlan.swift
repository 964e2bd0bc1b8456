import Foundation
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

/// The host's directories that the guest of an instance has, with the processes that serve them.
///
/// The machine was made for the mounts of its start, so an agent that attaches works with what is on record, not with the
/// configuration of now.
package struct MountPlan: Sendable {
    /// One mount, by its number in the machine.
    struct Entry: Codable, Sendable, Equatable {
        var mount: Mount
        var server: HelperRecord?
    }

    var entries: [Entry]
    /// Nil if there are no mounts.
    let directory: InstanceDirectory?
    let searchPath: String?
    /// The guest was started before this agent.
    let isRecorded: Bool

    /// No mounts.
    package static let none = MountPlan()

    private init() { (entries, directory, searchPath, isRecorded) = ([], nil, nil, false) }

    /// - Parameters:
    ///   - mounts: what the configuration asks for.
    ///   - isRecorded: whether the guest runs already, so that its record counts.
    ///   - searchPath: the value of `PATH`.
    package init(_ mounts: [Mount], of directory: InstanceDirectory, isRecorded: Bool, searchPath: String?) {
        self.directory = directory
        self.searchPath = searchPath
        self.isRecorded = isRecorded
        if isRecorded {
            entries = Self.recorded(in: directory)
        } else {
            entries = mounts.map { Entry(mount: $0.located(in: directory.path)) }
        }
    }

    private static func recorded(in directory: InstanceDirectory) -> [Entry] {
        guard let bytes = try? TextFile.bytes(directory.mountServers, limit: 1 << 20),
            let entries = try? JSONDecoder().decode([Entry].self, from: Data(bytes))
        else { return [] }
        return entries
    }

    /// Writes the record for the next agent.
    func save() throws {
        guard let directory else { return }
        if entries.isEmpty { return try Files.remove(directory.mountServers) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        try TextFile.replace(directory.mountServers, with: Array(try encoder.encode(entries)))
    }
}
