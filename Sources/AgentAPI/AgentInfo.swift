import Foundation
import HostModel

/// What `GET /v1/info` answers. `autoStartedIdentifier` and `sshLocalPort` are Lima's.
package struct AgentInfo: Codable, Sendable, Equatable {
    /// The unit or label of the manager that started this agent; left out when a person did.
    package var autoStartedIdentifier: String?
    package var sshLocalPort: Int?
    package var instance: String
    /// The instance's directory; nil of agents that do not tell.
    package var dir: String?
    package var driver: String
    package var state: InstanceStatus
    package var phase: Phase
    package var errors: [String]
    package var agentPID: Int32
    package var guestPID: Int32?
    package var version: String
    package var run: String
    /// RFC 3339.
    package var startedAt: String
    package var readyAt: String?
    package var accelerator: Accelerator?
    package var manager: Manager
    /// What of the configuration waits for the guest's next start, or for the registration to be written anew; nil of
    /// agents that do not tell.
    package var pending: [PendingChange]?
    /// What the guest can do; nil of agents that do not tell.
    package var capabilities: GuestCapabilities?
    /// Where an agent that a person started runs: a session, a terminal's scope, another service.
    package var enclosingUnit: String?

    package struct Manager: Codable, Sendable, Equatable {
        package var kind: ManagerKind
        package var scope: ManagerScope?
        package var unit: String?
        package var label: String?
    }

    package init(
        instance: InstanceName, dir: String, driver: String, phase: Phase, errors: [String], sshLocalPort: Int?,
        agentPID: Int32,
        guestPID: Int32?, version: String, run: String, startedAt: String, readyAt: String?,
        accelerator: Accelerator?, pending: [PendingChange], capabilities: GuestCapabilities,
        origin: LaunchOrigin
    ) {
        self.capabilities = capabilities
        self.pending = pending
        self.instance = instance.text
        self.dir = dir
        self.driver = driver
        state = phase.status
        self.phase = phase
        self.errors = errors
        self.sshLocalPort = sshLocalPort
        self.agentPID = agentPID
        self.guestPID = guestPID
        self.version = version
        self.run = run
        self.startedAt = startedAt
        self.readyAt = readyAt
        self.accelerator = accelerator
        autoStartedIdentifier = origin.autoStartedIdentifier
        switch origin {
        case .manager(let kind, let scope, let identifier):
            manager = Manager(
                kind: kind, scope: scope, unit: kind == .systemd ? identifier : nil,
                label: kind == .launchd ? identifier : nil)
        case .person(let unit):
            manager = Manager(kind: .none)
            enclosingUnit = unit
        }
    }
}

/// The body of an error.
package struct APIErrorBody: Codable, Sendable, Equatable {
    package var message: String

    package init(message: String) { self.message = message }
}

/// What `GET /v1/health` answers.
package struct HealthBody: Codable, Sendable, Equatable {
    package var state: InstanceStatus
    package var phase: Phase

    package init(phase: Phase) {
        state = phase.status
        self.phase = phase
    }
}

/// What `POST /v1/stop` answers.
package struct StopBody: Codable, Sendable, Equatable {
    /// The manager's unit the stop was handed to; left out where the agent does it itself.
    package var delegatedTo: String?

    package init(delegatedTo: String?) { self.delegatedTo = delegatedTo }
}
