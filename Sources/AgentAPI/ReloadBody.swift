/// A change of the configuration that a running guest does not have yet.
package struct PendingChange: Codable, Sendable, Hashable, Comparable {
    package enum Until: String, Codable, Sendable, CaseIterable {
        /// The guest's next start.
        case restart
        /// `autostart enable`, which writes the manager's file anew.
        case enable
    }

    package var key: String
    package var until: Until

    package init(key: String, until: Until) {
        self.key = key
        self.until = until
    }

    package static func < (left: Self, right: Self) -> Bool { left.key < right.key }
}

/// What `POST /v1/reload` answers.
package struct ReloadBody: Codable, Sendable, Equatable {
    /// Keys that count from now on.
    package var applied: [String]
    package var pending: [PendingChange]
    package var warnings: [String]

    package init(applied: [String], pending: [PendingChange], warnings: [String]) {
        self.applied = applied
        self.pending = pending
        self.warnings = warnings
    }
}

/// What `POST /v1/upgrade` answers before the agent becomes the new version.
package struct UpgradeBody: Codable, Sendable, Equatable {
    package var version: String
    /// The run that ends; the new version's is another.
    package var run: String

    package init(version: String, run: String) {
        self.version = version
        self.run = run
    }
}
