/// The name of a snapshot.
package struct SnapshotTag: Sendable, Equatable, CustomStringConvertible {
    /// As a person gave it.
    package let text: String
    package var description: String { text }

    /// A tag has 1 to 255 bytes (QEMU, include/block/snapshot.h) and no control characters.
    /// - Throws: `HostError` with `.usage` for anything else.
    package init(_ text: String) throws(HostError) {
        guard 1...255 ~= text.utf8.count else {
            throw HostError(
                .usage, "\(InstanceName.quoted(text)) cannot be the tag of a snapshot", hint: "a tag has 1 to 255 bytes"
            )
        }
        try Representable.requireOneLine(text, what: "the tag", format: "a list of snapshots")
        self.text = text
    }
}

/// A state of an instance's disks that the instance can return to.
package struct DiskSnapshot: Codable, Sendable, Equatable {
    /// Its name.
    package var tag: String
    /// When it was taken, in seconds since 1970.
    package var seconds: Int
    /// Bytes of the guest's memory that were saved with it; 0 if the guest did not run.
    package var memory: Int

    package init(tag: String, seconds: Int, memory: Int) {
        self.tag = tag
        self.seconds = seconds
        self.memory = memory
    }
}

/// What can be done with a snapshot.
package struct SnapshotChange: Sendable, Equatable {
    package enum Verb: String, Codable, Sendable, CaseIterable {
        case create
        /// Return to it.
        case apply
        case delete

        /// The verb in the past tense.
        package var past: String {
            switch self {
            case .create: "created"
            case .apply: "applied"
            case .delete: "deleted"
            }
        }
    }

    package var verb: Verb
    package var tag: SnapshotTag

    package init(_ verb: Verb, _ tag: SnapshotTag) {
        self.verb = verb
        self.tag = tag
    }

    /// Checks the change against the snapshots that each disk has. What can be refused is refused before anything changes.
    /// - Parameter disks: the name of each disk, for messages, and the tags of its snapshots.
    /// - Throws: `HostError` with `.unavailable`, or `.cannotCreate` if the tag is taken.
    package func check(against disks: [(name: String, tags: [String])]) throws(HostError) {
        let having = disks.filter { $0.tags.contains(tag.text) }
        let quoted = InstanceName.quoted(tag.text)
        switch verb {
        case .create:
            guard let disk = having.first else { return }
            throw HostError(
                .cannotCreate, "\(disk.name) has a snapshot \(quoted) already",
                hint: "choose another tag, or delete that snapshot first")
        case .apply, .delete:
            guard !having.isEmpty else {
                throw HostError(
                    .unavailable, "there is no snapshot \(quoted)",
                    hint: "hostagent snapshot list shows those of the instance's own disk")
            }
            // Deleting also removes what an interrupted creation left on some of the disks.
            guard verb == .apply, let lacking = disks.first(where: { !$0.tags.contains(tag.text) }) else { return }
            throw HostError(
                .unavailable, "\(lacking.name) has no snapshot \(quoted), and the instance's other disks have one",
                hint: "a snapshot is applied to all disks of an instance, or to none")
        }
    }
}
