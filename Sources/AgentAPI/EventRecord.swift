import Foundation
import HostModel

/// An event on the wire: one JSON object per line. The fields under `status` have Lima's names and meaning, so that
/// Lima's event watchers understand the stream. The other fields are ours.
package struct EventRecord: Codable, Sendable, Equatable {
    /// RFC 3339, UTC, with milliseconds.
    package var time: String
    package var status: Status
    /// The ID of the agent's run.
    package var run: String
    /// Counts the events of a run from 1.
    package var seq: Int
    package var phase: Phase
    /// Seconds since the agent started.
    package var elapsed: Double
    /// What happened: `kind` and `payload` on the wire.
    package var event: WireEvent

    /// Lima's status. The first five fields are state and are part of every event. The others report a single
    /// occurrence and are sent once.
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
        /// `forwarding`, `stopping` or `failed`, as in Lima.
        package var type: String
        package var `protocol`: String
        package var guestAddr: String
        package var hostAddr: String
        package var error: String?

        package init(_ forward: Forward, _ state: PortForwardState) {
            switch forward {
            case .network(let forward):
                `protocol` = forward.transport.rawValue
                guestAddr = "0.0.0.0:\(forward.guestPort)"
                hostAddr = "\(forward.hostAddress):\(forward.hostPort)"
            case .connection(let forward):
                `protocol` = [forward.guest, forward.host].allSatisfy { $0.hasPrefix("/") } ? "unix" : "tcp"
                guestAddr = forward.guest
                hostAddr = forward.host
            }
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

    /// The state that is part of every event.
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
        self.event = WireEvent(event)
        self.phase = phase
        self.elapsed = (elapsed * 1000).rounded() / 1000
        let isLast = if case .exiting = event { true } else { false }
        status = Status(
            running: phase.isUsable ? true : nil,
            degraded: phase == .degraded ? true : nil,
            exiting: isLast ? true : nil,
            errors: standing.errors.isEmpty ? nil : standing.errors,
            sshLocalPort: standing.sshLocalPort)
        switch event {
        case .guestLog(let line): status.cloudInitProgress = .init(logLine: line, active: true)
        case .portForward(let forward, let state): status.portForward = .init(forward, state)
        case .guestReady: status.cloudInitProgress = .init(active: false, completed: true)
        default: break
        }
    }

    /// The line on the wire, including the line end.
    package var line: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Encoding cannot fail: the record only contains strings, numbers and booleans.
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
    }

    package init?(line: some Collection<UInt8>) {
        guard let record = try? JSONDecoder().decode(EventRecord.self, from: Data(line)) else { return nil }
        self = record
    }
}

extension EventRecord {
    private enum CodingKeys: String, CodingKey {
        case time, status, run, seq, kind, phase, elapsed, payload
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        time = try values.decode(String.self, forKey: .time)
        status = try values.decode(Status.self, forKey: .status)
        run = try values.decode(String.self, forKey: .run)
        seq = try values.decode(Int.self, forKey: .seq)
        phase = try values.decode(Phase.self, forKey: .phase)
        elapsed = try values.decode(Double.self, forKey: .elapsed)
        event = try WireEvent(from: values, kind: .kind, payload: .payload)
    }

    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(time, forKey: .time)
        try values.encode(status, forKey: .status)
        try values.encode(run, forKey: .run)
        try values.encode(seq, forKey: .seq)
        try values.encode(phase, forKey: .phase)
        try values.encode(elapsed, forKey: .elapsed)
        try event.encode(into: &values, kind: .kind, payload: .payload)
    }

    /// The sequence number in a line, found without decoding the rest; nil if the line is not an event. Quotation marks
    /// inside strings are escaped, so a string cannot contain the key.
    package static func seq(ofLine line: ArraySlice<UInt8>) -> Int? {
        let key = Array(#""seq":"#.utf8)
        guard line.count > key.count else { return nil }
        var index = line.startIndex
        let last = line.endIndex - key.count
        while index < last {
            if line[index] == key[0], line[index..<index + key.count].elementsEqual(key) {
                let digits = line[(index + key.count)...].prefix { 48...57 ~= $0 }
                return Int(String(decoding: digits, as: UTF8.self))
            }
            index += 1
        }
        return nil
    }
}
