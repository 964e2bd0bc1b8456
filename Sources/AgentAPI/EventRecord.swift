import Foundation
import HostModel

/// An event on the wire: one JSON object a line. The fields under `status` are Lima's with Lima's meaning, so that
/// Lima's event watchers understand the stream; the others are ours.
package struct EventRecord: Codable, Sendable, Equatable {
    /// RFC 3339, UTC, with milliseconds.
    package var time: String
    package var status: Status
    /// Which run of the agent this is.
    package var run: String
    /// 1, 2, 3 … within the run.
    package var seq: Int
    package var kind: String
    package var phase: Phase
    /// Seconds since the agent started.
    package var elapsed: Double
    package var payload: Payload?

    /// Lima's status. The first five are state and stand in every event; the others are happenings and are sent once.
    package struct Status: Codable, Sendable, Equatable {
        package var running: Bool?
        package var degraded: Bool?
        package var exiting: Bool?
        package var errors: [String]?
        package var sshLocalPort: Int?
        package var cloudInitProgress: CloudInitProgress?
        package var portForward: PortForwardStatus?
    }

    package struct PortForwardStatus: Codable, Sendable, Equatable {
        /// `forwarding`, `stopping` or `failed`, as Lima has them.
        package var type: String
        package var `protocol`: String
        package var guestAddr: String
        package var hostAddr: String
        package var error: String?

        package init(_ forward: PortForward, _ state: PortForwardState) {
            `protocol` = forward.transport.rawValue
            guestAddr = "0.0.0.0:\(forward.guestPort)"
            hostAddr = "\(forward.hostAddress):\(forward.hostPort)"
            switch state {
            case .forwarding: type = "forwarding"
            case .stopped: type = "stopping"
            case .failed(let reason):
                type = "failed"
                error = reason
            }
        }
    }

    package struct CloudInitProgress: Codable, Sendable, Equatable {
        package var logLine: String?
        package var active: Bool?
        package var completed: Bool?

        package init(logLine: String? = nil, active: Bool? = nil, completed: Bool? = nil) {
            self.logLine = logLine
            self.active = active
            self.completed = completed
        }
    }

    /// What an event carries besides its kind.
    package struct Payload: Codable, Sendable, Equatable {
        package var pid: Int32?
        /// Of an agent that died and left its guest.
        package var previousRun: String?
        package var previousAgentPID: Int32?
        package var accelerator: Accelerator?
        package var milliseconds: Int?
        package var by: String?
        package var force: Bool?
        package var step: StopStep?
        package var seconds: Double?
        package var message: String?
        package var mode: String?
        package var script: String?
        package var exitStatus: Int32?
        package var applied: [String]?
        package var pending: [String]?
        package var version: String?

        package init() {}
    }

    /// The state that stands in every event.
    package struct Standing: Sendable, Equatable {
        package var errors: [String] = []
        package var sshLocalPort: Int?

        package init() {}
    }

    package init(
        _ event: AgentEvent, run: String, seq: Int, phase: Phase, standing: Standing, elapsed: Double, time: Date
    ) {
        self.time = time.formatted(
            Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        self.run = run
        self.seq = seq
        kind = event.kind
        self.phase = phase
        self.elapsed = (elapsed * 1000).rounded() / 1000
        payload = Payload(event)
        status = Status(
            running: phase.isUsable ? true : nil,
            degraded: phase == .degraded ? true : nil,
            exiting: kind == "exiting" ? true : nil,
            errors: standing.errors.isEmpty ? nil : standing.errors,
            sshLocalPort: standing.sshLocalPort)
        switch event {
        case .guestLog(let line): status.cloudInitProgress = .init(logLine: line, active: true)
        case .portForward(let forward, let state): status.portForward = .init(forward, state)
        case .guestReady: status.cloudInitProgress = .init(active: false, completed: true)
        default: break
        }
    }

    /// The line on the wire, with its end.
    package var line: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings, numbers and booleans always encode.
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
    }

    package init?(line: some Collection<UInt8>) {
        guard let record = try? JSONDecoder().decode(EventRecord.self, from: Data(line)) else { return nil }
        self = record
    }
}

extension EventRecord.Payload {
    init?(_ event: AgentEvent) {
        self.init()
        switch event {
        case .phaseChanged, .guestRebooted, .guestReady, .guestResponsive, .portForward: return nil
        case .guestSpawned(let pid, let accelerator):
            self.pid = pid
            self.accelerator = accelerator
        case .attached(let pid, let accelerator, let previousRun, let previousAgent):
            self.pid = pid
            self.accelerator = accelerator
            self.previousRun = previousRun
            previousAgentPID = previousAgent
        case .guestLog(let line): message = line
        case .accessConfirmed(let milliseconds): self.milliseconds = milliseconds
        case .provisioningFailed(let mode, let script, let status):
            self.mode = mode
            self.script = script
            exitStatus = Int32(clamping: status)
        case .stopRequested(let by, let force):
            self.by = by
            self.force = force
        case .stopStep(let step): self.step = step
        case .guestEnded(let step, let seconds):
            self.step = step
            self.seconds = (seconds * 1000).rounded() / 1000
        case .guestUnresponsive(let seconds): self.seconds = Double(seconds)
        case .guestClockSet(let reason): message = reason
        case .reloaded(let applied, let pending):
            self.applied = applied
            self.pending = pending
        case .upgrading(let version): self.version = version
        case .warning(let text), .failure(let text): message = text
        case .exiting(let status): exitStatus = status
        }
    }
}
