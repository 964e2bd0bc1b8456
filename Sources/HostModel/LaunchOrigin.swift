/// The kind of service manager.
package enum ManagerKind: String, Sendable, Codable, CaseIterable {
    case systemd, launchd, none
}

/// Whose manager: the machine's or one account's.
package enum ManagerScope: String, Sendable, Codable, CaseIterable {
    case system, user
}

/// Who started this agent.
package enum LaunchOrigin: Sendable, Equatable {
    /// A service manager executed this process for this instance. `identifier` is the unit's name or the job's label.
    case manager(kind: ManagerKind, scope: ManagerScope, identifier: String)
    /// A person did, by hand, from a session, a timer or another service; `enclosingUnit` is where that runs.
    case person(enclosingUnit: String?)

    /// Lima's `autoStartedIdentifier`: there only when the manager itself executes this process for this instance.
    package var autoStartedIdentifier: String? {
        if case .manager(_, _, let identifier) = self { identifier } else { nil }
    }

    package var managerKind: ManagerKind {
        if case .manager(let kind, _, _) = self { kind } else { .none }
    }
}
