import Foundation
import HostModel
import HostOS

/// The recent failures of an instance that a manager keeps alive. systemd has no growing delay before version 254 and
/// launchd none at all, so the agent waits itself before it launches the guest again, and in the end gives up.
package struct RestartHistory: Codable, Sendable, Equatable {
    /// When runs failed, in seconds since 1970, oldest first.
    package private(set) var failures: [Double] = []
    /// Why the last one did.
    package private(set) var reason: String?
    /// When the launch that is being waited for comes, in seconds since 1970.
    package var nextTry: Double?

    /// Seconds after which a failure counts no more.
    package static let window = 600.0
    /// So many failures within the window, and it is given up.
    package static let limit = 6

    package enum Verdict: Sendable, Equatable {
        /// Launch after so many seconds.
        case launch(after: Double)
        case giveUp
    }

    package init() {}

    package mutating func add(failureAt time: Double, reason: String) {
        failures = failures.filter { time - $0 < Self.window && $0 <= time } + [time]
        self.reason = reason
        nextTry = nil
    }

    /// How many failures count.
    package func recent(at time: Double) -> Int { failures.filter { time - $0 < Self.window && $0 <= time }.count }

    /// At once after the first failure, then 2, 4, 8 … s after each.
    package func verdict(at time: Double) -> Verdict {
        let count = recent(at: time)
        if count >= Self.limit { return .giveUp }
        return .launch(after: count < 2 ? 0 : Double(1 << (count - 1)))
    }

    // MARK: On disk

    /// An empty history where there is none, or none that can be read.
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
