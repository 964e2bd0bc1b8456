/// A configuration change that has not taken effect yet.
package struct PendingChange: Codable, Sendable, Hashable, Comparable {
    package enum Until: String, Codable, Sendable, CaseIterable {
        /// Takes effect at the guest's next start.
        case restart
        /// Takes effect at `autostart enable`, which writes the manager's file again.
        case enable
        /// Never takes effect on an instance that exists. A new one would have it.
        case creation
    }

    package var key: String
    package var until: Until

    package init(key: String, until: Until) {
        self.key = key
        self.until = until
    }

    package static func < (left: Self, right: Self) -> Bool { left.key < right.key }
}

/// The body of `POST /v1/reload`.
package struct ReloadBody: Codable, Sendable, Equatable {
    /// Keys whose new values are now in effect.
    package var applied: [String]
    package var pending: [PendingChange]
    package var warnings: [String]

    package init(applied: [String], pending: [PendingChange], warnings: [String]) {
        self.applied = applied
        self.pending = pending
        self.warnings = warnings
    }
}

/// The body of `POST /v1/upgrade`, sent before the agent is replaced by the new version.
package struct UpgradeBody: Codable, Sendable, Equatable {
    package var version: String
    /// The run that ends. The new version starts another run.
    package var run: String

    package init(version: String, run: String) {
        self.version = version
        self.run = run
    }
}
