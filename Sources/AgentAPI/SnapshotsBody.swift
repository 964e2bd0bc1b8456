import HostModel

/// The body of `GET /v1/snapshots`.
package struct SnapshotsBody: Codable, Sendable, Equatable {
    package var snapshots: [DiskSnapshot]

    package init(snapshots: [DiskSnapshot]) { self.snapshots = snapshots }
}

/// The body of `POST /v1/snapshot`.
package struct SnapshotBody: Codable, Sendable, Equatable {
    package var change: SnapshotChange.Verb
    package var tag: String

    package init(_ change: SnapshotChange) {
        self.change = change.verb
        tag = change.tag.text
    }
}
