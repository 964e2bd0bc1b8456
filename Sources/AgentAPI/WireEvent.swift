import HostModel

/// The content of an event on the wire, without the envelope: one payload type per kind. It is encoded as the key
/// `kind`, and `payload` if the kind has one.
package enum WireEvent: Sendable, Equatable {
    case phase
    case guestSpawned(GuestSpawned)
    case attached(Attached)
    case guestRebooted
    case download(Download)
    case guestLog(Message)
    case guestReady
    case accessConfirmed(AccessConfirmed)
    case provisioningFailed(ProvisioningFailed)
    case stopRequested(StopRequested)
    case stopStep(StopStepTaken)
    case guestEnded(GuestEnded)
    case guestUnresponsive(GuestUnresponsive)
    case guestResponsive
    case portForward
    case mount(MountChange)
    case guestClockSet(Message)
    case reloaded(Reloaded)
    case snapshot(Snapshot)
    case upgrading(Upgrading)
    case warning(Message)
    case failure(Message)
    case exiting(Exiting)
    /// A kind that this program does not know, sent by a newer agent.
    case unknown(kind: String)

    package struct GuestSpawned: Codable, Sendable, Equatable {
        package var pid: Int32
        package var accelerator: Accelerator
    }

    package struct Attached: Codable, Sendable, Equatable {
        package var pid: Int32
        package var accelerator: Accelerator
        /// The run of the agent that died and left its guest running.
        package var previousRun: String?
        package var previousAgentPID: Int32?
    }

    package struct Download: Codable, Sendable, Equatable {
        package var address: String
        /// Bytes that are there.
        package var received: Int
        /// Bytes of the whole file; absent if the server does not tell.
        package var total: Int?
        /// `receiving`, `followed`, `interrupted`, `unconfirmed` or `complete`.
        package var state: String
        /// Why the transfer broke off, or the server could not be asked.
        package var reason: String?
        /// Seconds until then.
        package var pause: Int?

        /// Nil for a state that this program does not know.
        package var progress: TransferProgress? {
            let known: TransferProgress.State? =
                switch state {
                case "receiving": .receiving
                case "followed": .followed
                case "complete": .complete
                case "unconfirmed": .unconfirmed(reason: reason ?? "")
                case "interrupted": .interrupted(reason: reason ?? "", pause: pause ?? 0)
                default: nil
                }
            return known.map { TransferProgress(address: address, received: received, total: total, state: $0) }
        }

        init(_ progress: TransferProgress) {
            address = progress.address
            received = progress.received
            total = progress.total
            switch progress.state {
            case .receiving: state = "receiving"
            case .followed: state = "followed"
            case .complete: state = "complete"
            case .unconfirmed(let why):
                state = "unconfirmed"
                reason = why
            case .interrupted(let why, let seconds):
                state = "interrupted"
                reason = why
                pause = seconds
            }
        }
    }

    package struct Message: Codable, Sendable, Equatable {
        package var message: String
    }

    package struct AccessConfirmed: Codable, Sendable, Equatable {
        package var milliseconds: Int
    }

    package struct ProvisioningFailed: Codable, Sendable, Equatable {
        package var mode: String
        package var script: String
        package var exitStatus: Int32
    }

    package struct StopRequested: Codable, Sendable, Equatable {
        package var by: String
        package var force: Bool
    }

    package struct StopStepTaken: Codable, Sendable, Equatable {
        package var step: StopStep
    }

    package struct GuestEnded: Codable, Sendable, Equatable {
        /// The step that ended the guest; absent if the guest ended by itself.
        package var step: StopStep?
        package var seconds: Double
    }

    package struct GuestUnresponsive: Codable, Sendable, Equatable {
        package var seconds: Double
    }

    package struct MountChange: Codable, Sendable, Equatable {
        /// The directory on the host.
        package var location: String
        package var mountPoint: String
        /// `mounted`, `lost`, `failed` or `removed`.
        package var state: String
        /// How it is mounted, in Lima's words.
        package var type: MountType?
        /// Why it was lost, or cannot be made.
        package var reason: String?

        init(_ mount: Mount, _ state: MountState) {
            (location, mountPoint) = (mount.location, mount.mountPoint)
            switch state {
            case .mounted(let type): (self.state, self.type) = ("mounted", type)
            case .lost(let reason): (self.state, self.reason) = ("lost", reason)
            case .failed(let reason): (self.state, self.reason) = ("failed", reason)
            case .removed: self.state = "removed"
            }
        }
    }

    package struct Reloaded: Codable, Sendable, Equatable {
        package var applied: [String]
        package var pending: [String]
    }

    package struct Snapshot: Codable, Sendable, Equatable {
        package var change: SnapshotChange.Verb
        package var tag: String
    }

    package struct Upgrading: Codable, Sendable, Equatable {
        package var version: String
    }

    package struct Exiting: Codable, Sendable, Equatable {
        package var exitStatus: Int32
    }

    init(_ event: AgentEvent) {
        switch event {
        case .phaseChanged: self = .phase
        case .guestSpawned(let pid, let accelerator):
            self = .guestSpawned(.init(pid: pid, accelerator: accelerator))
        case .attached(let pid, let accelerator, let previousRun, let previousAgent):
            self = .attached(
                .init(
                    pid: pid, accelerator: accelerator, previousRun: previousRun, previousAgentPID: previousAgent))
        case .guestRebooted: self = .guestRebooted
        case .download(let progress): self = .download(.init(progress))
        case .guestLog(let line): self = .guestLog(.init(message: line))
        case .guestReady: self = .guestReady
        case .accessConfirmed(let milliseconds): self = .accessConfirmed(.init(milliseconds: milliseconds))
        case .provisioningFailed(let mode, let script, let status):
            self = .provisioningFailed(.init(mode: mode, script: script, exitStatus: Int32(clamping: status)))
        case .stopRequested(let by, let force): self = .stopRequested(.init(by: by, force: force))
        case .stopStep(let step): self = .stopStep(.init(step: step))
        case .guestEnded(let step, let seconds):
            self = .guestEnded(.init(step: step, seconds: (seconds * 1000).rounded() / 1000))
        case .guestUnresponsive(let seconds): self = .guestUnresponsive(.init(seconds: Double(seconds)))
        case .guestResponsive: self = .guestResponsive
        case .portForward: self = .portForward
        case .mount(let mount, let state): self = .mount(.init(mount, state))
        case .guestClockSet(let reason): self = .guestClockSet(.init(message: reason))
        case .reloaded(let applied, let pending): self = .reloaded(.init(applied: applied, pending: pending))
        case .snapshot(let change): self = .snapshot(.init(change: change.verb, tag: change.tag.text))
        case .upgrading(let version): self = .upgrading(.init(version: version))
        case .warning(let text): self = .warning(.init(message: text))
        case .failure(let text): self = .failure(.init(message: text))
        case .exiting(let status): self = .exiting(.init(exitStatus: status))
        }
    }
}

// MARK: On the wire

extension WireEvent {
    /// The event's name on the wire.
    package var kind: String {
        switch self {
        case .phase: "phase"
        case .guestSpawned: "guest-spawned"
        case .attached: "attached"
        case .guestRebooted: "guest-rebooted"
        case .download: "download"
        case .guestLog: "guest-log"
        case .guestReady: "guest-ready"
        case .accessConfirmed: "access-confirmed"
        case .provisioningFailed: "provisioning-failed"
        case .stopRequested: "stop-requested"
        case .stopStep: "stop-step"
        case .guestEnded: "guest-ended"
        case .guestUnresponsive: "guest-unresponsive"
        case .guestResponsive: "guest-responsive"
        case .portForward: "port-forward"
        case .mount: "mount"
        case .guestClockSet: "guest-clock-set"
        case .reloaded: "reloaded"
        case .snapshot: "snapshot"
        case .upgrading: "upgrading"
        case .warning: "warning"
        case .failure: "failure"
        case .exiting: "exiting"
        case .unknown(let kind): kind
        }
    }

    private var payload: (any Encodable)? {
        switch self {
        case .phase, .guestRebooted, .guestReady, .guestResponsive, .portForward, .unknown: nil
        case .guestSpawned(let payload): payload
        case .attached(let payload): payload
        case .download(let payload): payload
        case .guestLog(let payload), .guestClockSet(let payload), .warning(let payload), .failure(let payload): payload
        case .accessConfirmed(let payload): payload
        case .provisioningFailed(let payload): payload
        case .stopRequested(let payload): payload
        case .stopStep(let payload): payload
        case .guestEnded(let payload): payload
        case .guestUnresponsive(let payload): payload
        case .mount(let payload): payload
        case .reloaded(let payload): payload
        case .snapshot(let payload): payload
        case .upgrading(let payload): payload
        case .exiting(let payload): payload
        }
    }

    func encode<Key: CodingKey>(
        into container: inout KeyedEncodingContainer<Key>, kind kindKey: Key, payload payloadKey: Key
    ) throws {
        try container.encode(kind, forKey: kindKey)
        if let payload { try payload.encode(to: container.superEncoder(forKey: payloadKey)) }
    }

    init<Key: CodingKey>(
        from container: KeyedDecodingContainer<Key>, kind kindKey: Key, payload payloadKey: Key
    ) throws {
        func payload<Payload: Decodable>(_ type: Payload.Type = Payload.self) throws -> Payload {
            try container.decode(Payload.self, forKey: payloadKey)
        }
        let kind = try container.decode(String.self, forKey: kindKey)
        switch kind {
        case "phase": self = .phase
        case "guest-spawned": self = .guestSpawned(try payload())
        case "attached": self = .attached(try payload())
        case "guest-rebooted": self = .guestRebooted
        case "download": self = .download(try payload())
        case "guest-log": self = .guestLog(try payload())
        case "guest-ready": self = .guestReady
        case "access-confirmed": self = .accessConfirmed(try payload())
        case "provisioning-failed": self = .provisioningFailed(try payload())
        case "stop-requested": self = .stopRequested(try payload())
        case "stop-step": self = .stopStep(try payload())
        case "guest-ended": self = .guestEnded(try payload())
        case "guest-unresponsive": self = .guestUnresponsive(try payload())
        case "guest-responsive": self = .guestResponsive
        case "port-forward": self = .portForward
        case "mount": self = .mount(try payload())
        case "guest-clock-set": self = .guestClockSet(try payload())
        case "reloaded": self = .reloaded(try payload())
        case "snapshot": self = .snapshot(try payload())
        case "upgrading": self = .upgrading(try payload())
        case "warning": self = .warning(try payload())
        case "failure": self = .failure(try payload())
        case "exiting": self = .exiting(try payload())
        default: self = .unknown(kind: kind)
        }
    }
}
