/// The kind of service manager.
package enum ManagerKind: String, Sendable, Codable, CaseIterable {
    case systemd, launchd, none
}

/// Whether a manager serves the whole host or one account.
package enum ManagerScope: String, Sendable, Codable, CaseIterable {
    case system, user
}

/// Who started this agent.
package enum LaunchOrigin: Sendable, Equatable {
    /// A service manager started this process for this instance. `identifier` is the unit's name or the job's label.
    case manager(kind: ManagerKind, scope: ManagerScope, identifier: String)
    /// Anything else started it: a person in a session, a timer or another service. `enclosingUnit` is the unit it runs
    /// in.
    case person(enclosingUnit: String?)

    /// Lima's `autoStartedIdentifier`. Set only when the manager itself started this process for this instance.
    package var autoStartedIdentifier: String? {
        if case .manager(_, _, let identifier) = self { identifier } else { nil }
    }

    package var managerKind: ManagerKind {
        if case .manager(let kind, _, _) = self { kind } else { .none }
    }
}
