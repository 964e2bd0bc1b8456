import Foundation
import HostModel
import HostOS

/// The recent failures of an instance that a manager keeps alive. systemd before version 254 has no increasing restart
/// delay, and launchd never has one. So the agent itself waits before it launches the guest again, and finally gives
/// up.
package struct RestartHistory: Codable, Sendable, Equatable {
    /// When runs failed, in seconds since 1970, oldest first.
    package private(set) var failures: [Double] = []
    /// Why the last run failed.
    package private(set) var reason: String?
    /// The time of the next launch while the agent waits for it, in seconds since 1970.
    package var nextTry: Double?

    /// Seconds after which a failure no longer counts.
    package static let window = 600.0
    /// The number of failures within the window at which the agent gives up.
    package static let limit = 6

    package enum Verdict: Sendable, Equatable {
        /// Launch after this many seconds.
        case launch(after: Double)
        case giveUp
    }

    package init() {}

    package mutating func add(failureAt time: Double, reason: String) {
        failures = failures.filter { time - $0 < Self.window && $0 <= time } + [time]
        self.reason = reason
        nextTry = nil
    }

    /// How many failures still count.
    package func recent(at time: Double) -> Int { failures.filter { time - $0 < Self.window && $0 <= time }.count }

    /// Launches at once after the first failure, then after 2, 4, 8 … s.
    package func verdict(at time: Double) -> Verdict {
        let count = recent(at: time)
        if count >= Self.limit { return .giveUp }
        return .launch(after: count < 2 ? 0 : Double(1 << (count - 1)))
    }

    // MARK: On disk

    /// The saved history; an empty one if there is none or it cannot be read.
    package static func load(_ directory: InstanceDirectory) -> RestartHistory {
        guard let bytes = try? TextFile.bytes(directory.restartHistory, limit: 1 << 16),
            let history = try? JSONDecoder().decode(RestartHistory.self, from: Data(bytes))
        else { return RestartHistory() }
        return history
    }

    package func save(_ directory: InstanceDirectory) throws {
        try TextFile.replace(directory.restartHistory, with: Array(try JSONEncoder().encode(self)))
    }

    package static func forget(_ directory: InstanceDirectory) {
        try? Files.remove(directory.restartHistory)
    }
}
