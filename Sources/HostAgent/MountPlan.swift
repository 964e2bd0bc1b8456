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
        /// Whether the machine has it by virtiofs; nil if that was not asked for.
        var offer: Offer?
        /// The machine was made with a server of it. QEMU cannot save such a machine, even when the server has ended.
        var isInMachine: Bool {
            switch offer {
            case .served, .lost, .declined: true
            case .refused, nil: false
            }
        }
        /// It was added while the guest ran.
        var isAdded: Bool?
        /// Nil while the guest is to have it.
        var absence: Absence?
    }

    /// What became of a mount that the configuration no longer has.
    enum Absence: String, Codable, Sendable {
        /// The guest is to give it back, and its server ends then.
        case leaving
        /// Its number is free.
        case gone
    }

    /// What an agent leaves for the next one. Earlier versions left the entries alone.
    private struct Record: Codable {
        var ports: Int
        var isChanged: Bool
        var entries: [Entry]
    }

    /// What became of a mount by virtiofs.
    enum Offer: Codable, Sendable, Equatable {
        /// The machine was made with this server.
        case served(HelperRecord)
        /// There was no server when the machine was made.
        case refused(reason: String)
        /// The server has ended before the machine.
        case lost
        /// The guest cannot mount this way.
        case declined
    }

    var entries: [Entry] = []
    /// Nil if there are no mounts.
    let directory: InstanceDirectory?
    let searchPath: String?
    /// Whether the guest is told what the host changes in the directories.
    let tellsOfChanges: Bool
    /// Whether mounts are to be by virtiofs.
    private let offersSharing: Bool
    /// The guest was started before this agent.
    private(set) var isRecorded = false
    /// The guest was started before this agent with mounts, and nothing tells which.
    private(set) var isLost = false
    /// What the machine is made for.
    private let initial: [Entry]
    /// The ports that the machine is made with.
    private let initialPorts: Int
    /// The ports that the machine has; nil if an earlier version started it.
    private(set) var ports: Int?
    /// The guest has other mounts than those of its start.
    package var isChanged = false
    /// What a configuration that was read again asks for; nil if none was.
    var latest: [Mount]?

    /// No mounts.
    package static let none = MountPlan()

    private init() {
        (directory, searchPath, tellsOfChanges, offersSharing, initial, initialPorts) = (nil, nil, false, false, [], 0)
    }

    /// - Parameters:
    ///   - mounts: what the configuration asks for.
    ///   - ports: the ports that the machine is made with.
    ///   - isRecorded: whether the guest runs already, so that its record counts.
    ///   - searchPath: the value of `PATH`.
    ///   - tellsOfChanges: whether the guest is told what the host changes.
    ///   - type: how the configuration wants them to be mounted.
    package init(
        _ mounts: [Mount], ports: Int, of directory: InstanceDirectory, isRecorded: Bool, searchPath: String?,
        tellsOfChanges: Bool = false, type: MountType? = nil
    ) {
        self.directory = directory
        self.tellsOfChanges = tellsOfChanges
        offersSharing = type == .virtioFS
        self.searchPath = searchPath
        initial = mounts.map { Entry(mount: $0.located(in: directory.path)) }
        initialPorts = ports
        guard isRecorded else {
            begin()
            return
        }
        self.isRecorded = true
        if let record = Self.record(in: directory) {
            (entries, self.ports, isChanged) = record
        } else {
            // A machine that was made for mounts has their ports. The configuration may have changed since, and must not
            // decide what the guest gets there.
            isLost = Files.kind(directory.mountSocket(0)) == .socket
        }
    }

    /// A new machine is made by the configuration.
    mutating func begin() {
        // A number that somebody remembers stays valid.
        let rest = entries.dropFirst(initial.count).map { Entry(mount: $0.mount, isAdded: true, absence: .gone) }
        (entries, ports, isChanged) = (initial + rest, initialPorts, false)
        // The servers that were started for the machine.
        if offersSharing, let directory, let recorded = Self.recorded(in: directory) {
            for (number, entry) in zip(entries.indices, recorded) where entry.mount == entries[number].mount {
                entries[number].offer = entry.offer
            }
        }
        (isRecorded, isLost) = (false, false)
    }

    /// A mount that was leaving has gone, and its number is free.
    package mutating func release(_ number: Int) { (entries[number].absence, entries[number].server) = (.gone, nil) }

    mutating func offer(_ number: Int, _ offer: Offer) { entries[number].offer = offer }

    /// The server by virtiofs that the machine was made with, if it is not known to have ended.
    func sharer(of number: Int) -> HelperRecord? {
        guard case .served(let record) = entries[number].offer else { return nil }
        return record
    }

    static func recorded(in directory: InstanceDirectory) -> [Entry]? { record(in: directory)?.entries }

    private static func record(in directory: InstanceDirectory) -> (entries: [Entry], ports: Int?, isChanged: Bool)? {
        guard let bytes = try? TextFile.bytes(directory.mountServers, limit: 1 << 20) else { return nil }
        if let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)) {
            // No program wrote another one.
            guard (0...Mount.maximumPorts).contains(record.ports), record.entries.count <= record.ports else {
                return nil
            }
            return (record.entries, record.ports, record.isChanged)
        }
        return (try? JSONDecoder().decode([Entry].self, from: Data(bytes))).map { ($0, nil, false) }
    }

    /// Removes what leads to the servers of a guest that has ended.
    func forget() {
        guard let directory else { return }
        for number in 0..<Mount.maximumPorts {
            try? Files.remove(directory.mountSocket(number))
            try? Files.remove(directory.sharingSocket(number))
            for log in [directory.mountLog(number), directory.mountLog(number) + ".1"] { try? Files.remove(log) }
        }
        try? Files.remove(directory.mountServers)
    }

    /// Writes the record for the next agent.
    func save() throws {
        guard let directory else { return }
        // What is lost is not replaced by nothing.
        if isLost { return }
        if entries.isEmpty, ports == 0 { return try Files.remove(directory.mountServers) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        guard let ports else {
            return try TextFile.replace(directory.mountServers, with: Array(try encoder.encode(entries)))
        }
        let record = Record(ports: ports, isChanged: isChanged, entries: entries)
        try TextFile.replace(directory.mountServers, with: Array(try encoder.encode(record)))
    }
}
