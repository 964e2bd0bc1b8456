/// The phase of an instance's agent and guest. The raw values are also those of the wire.
package enum Phase: String, Sendable, Codable, CaseIterable {
    case preparing, attaching, booting, provisioning, running, degraded, stopping
    /// The guest has ended as intended.
    case stopped
    /// The agent gave up. Its reason is kept.
    case failed

    /// What `list` shows: Lima's word where Lima has one.
    package var status: InstanceStatus {
        switch self {
        case .preparing, .attaching, .booting, .provisioning: .starting
        case .running: .running
        case .degraded: .degraded
        case .stopping: .stopping
        case .stopped: .stopped
        case .failed: .failed
        }
    }

    /// The guest can be used.
    package var isUsable: Bool { self == .running || self == .degraded }

    /// There is a guest and it is not being stopped.
    package var hasGuest: Bool { [.attaching, .booting, .provisioning, .running, .degraded].contains(self) }

    /// The last phase of an agent.
    package var isFinal: Bool { self == .stopped || self == .failed }
}

/// The status column of `list`.
package enum InstanceStatus: String, Sendable, Codable, CaseIterable {
    case running = "Running"
    case stopped = "Stopped"
    case broken = "Broken"
    case starting = "Starting"
    case stopping = "Stopping"
    case failed = "Failed"
    case orphaned = "Orphaned"
    case degraded = "Degraded"
}

/// When a manager restarts an instance.
package enum KeepAlive: String, Sendable, Codable, CaseIterable {
    case onFailure = "on-failure"
    case always
    case no
}

/// What runs the guest's instructions.
package enum Accelerator: String, Sendable, Codable, CaseIterable {
    case kvm, hvf, tcg
}
