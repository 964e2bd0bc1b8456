import Foundation
import HostModel

/// The body of `GET /v1/info`. `autoStartedIdentifier` and `sshLocalPort` are keys of Lima.
package struct AgentInfo: Codable, Sendable, Equatable {
    /// The systemd unit or launchd label that started this agent; absent if a person started it.
    package var autoStartedIdentifier: String?
    package var sshLocalPort: Int?
    package var instance: String
    /// The instance's directory; nil for an agent that does not report it.
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
    /// Configuration changes that take effect at the guest's next start, or when the registration is written again; nil
    /// for an agent that does not report them.
    package var pending: [PendingChange]?
    /// The configuration that the agent and its guest use; nil for an agent that does not report it.
    package var configuration: ConfigurationInUse?
    /// What the guest can do; nil for an agent that does not report it.
    package var capabilities: GuestCapabilities?
    /// The unit around an agent that a person started: a session, a terminal's scope, or another service.
    package var enclosingUnit: String?

    package struct Manager: Codable, Sendable, Equatable {
        package var kind: ManagerKind
        package var scope: ManagerScope?
        package var unit: String?
        package var label: String?
    }

    /// Digests tell whether the files of an instance have changed since the agent read them.
    package struct ConfigurationInUse: Codable, Sendable, Equatable {
        /// A digest of all keys, as the agent has read them last.
        package var loaded: String
        /// A digest of each key that counts only from a start, as the guest was started; nil if that is not known.
        package var startedWith: [String: String]?

        package init(loaded: String, startedWith: [String: String]?) {
            self.loaded = loaded
            self.startedWith = startedWith
        }
    }

    package init(
        instance: InstanceName, dir: String, driver: String, phase: Phase, errors: [String], sshLocalPort: Int?,
        agentPID: Int32,
        guestPID: Int32?, version: String, run: String, startedAt: String, readyAt: String?,
        accelerator: Accelerator?, pending: [PendingChange], configuration: ConfigurationInUse,
        capabilities: GuestCapabilities, origin: LaunchOrigin
    ) {
        self.configuration = configuration
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
    /// What to do about it.
    package var hint: String?
    /// The exit status of a command that fails because of this; absent means 1.
    package var exitStatus: Int32?

    package init(message: String) { self.message = message }

    package init(_ error: HostError) {
        message = error.message
        hint = error.hint
        exitStatus = error.exitStatus.rawValue
    }
}

/// The body of `GET /v1/health`.
package struct HealthBody: Codable, Sendable, Equatable {
    package var state: InstanceStatus
    package var phase: Phase

    package init(phase: Phase) {
        state = phase.status
        self.phase = phase
    }
}

/// The body of `POST /v1/stop`.
package struct StopBody: Codable, Sendable, Equatable {
    /// The manager's unit that carries out the stop; absent if the agent stops the guest itself.
    package var delegatedTo: String?

    package init(delegatedTo: String?) { self.delegatedTo = delegatedTo }
}
