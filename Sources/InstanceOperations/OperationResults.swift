import HostModel

/// What `create` made.
package struct CreateResult: Codable, Sendable, Equatable {
    package var name: String
    package var dir: String
    package var warnings: [String]
}

/// What came of a start.
package struct StartResult: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case started
        case alreadyRunning = "already-running"
    }

    package var name: String
    package var outcome: Outcome
    package var status: InstanceStatus
    package var sshLocalPort: Int?
    package var agentPID: Int32?
    package var guestPID: Int32?
    /// The unit or label whose manager runs the agent; left out for an agent of a person.
    package var runBy: String?
}

/// What came of a stop.
package struct StopResult: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case stopped
        case notRunning = "not-running"
    }

    package var name: String
    package var outcome: Outcome
}

/// What `delete` removed.
package struct DeleteResult: Codable, Sendable, Equatable {
    package var name: String
    package var dir: String
    /// It was running, and was stopped first.
    package var wasStopped: Bool
    package var wasRegistered: Bool
}

/// What came of `autostart enable` or `disable`.
package struct AutostartResult: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case registered, unregistered
        case notRegistered = "not-registered"
    }

    package var name: String
    package var outcome: Outcome
    /// The instance's directory; left out where only the registration is left of it.
    package var dir: String?
    package var condition: AutostartCondition?
    /// Whose guest it is.
    package var account: String?
    /// What a person should know.
    package var notes: [String] = []
    /// The command that starts it now.
    package var startCommand: String?
}

/// What an operation would do. Nothing is changed to find out.
package struct OperationPlan: Codable, Sendable, Equatable {
    package var name: String
    /// In order; empty where nothing is to be done.
    package var steps: [String]

    package init(name: String, steps: [String]) {
        self.name = name
        self.steps = steps
    }
}
