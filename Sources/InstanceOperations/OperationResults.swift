import HostModel

/// The result of `create`.
package struct CreateResult: Codable, Sendable, Equatable {
    package var name: String
    package var dir: String
    package var warnings: [String]
}

/// The result of a start.
package struct StartResult: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case started
        case alreadyRunning = "already-running"
    }

    package var name: String
    package var outcome: Outcome
    package var status: InstanceStatus
    /// What is not as the configuration wants it; absent if all is.
    package var errors: [String]?
    package var sshLocalPort: Int?
    package var agentPID: Int32?
    package var guestPID: Int32?
    /// The unit or label that runs the agent; absent when a person started it.
    package var runBy: String?
}

/// The result of a stop.
package struct StopResult: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case stopped
        case notRunning = "not-running"
    }

    package var name: String
    package var outcome: Outcome
}

/// The result of `delete`.
package struct DeleteResult: Codable, Sendable, Equatable {
    package var name: String
    package var dir: String
    /// It was running and was stopped first.
    package var wasStopped: Bool
    package var wasRegistered: Bool
}

/// The result of `autostart enable` or `disable`.
package struct AutostartResult: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case registered, unregistered
        case notRegistered = "not-registered"
    }

    package var name: String
    package var outcome: Outcome
    /// The instance's directory; absent if only its registration exists.
    package var dir: String?
    package var condition: AutostartCondition?
    /// The account that owns the instance.
    package var account: String?
    /// Remarks for a person.
    package var notes: [String] = []
    /// The command that starts it now.
    package var startCommand: String?
}

/// What an operation would do. Making a plan changes nothing.
package struct OperationPlan: Codable, Sendable, Equatable {
    package var name: String
    /// The steps in order; empty when nothing would be done.
    package var steps: [String]

    package init(name: String, steps: [String]) {
        self.name = name
        self.steps = steps
    }
}
