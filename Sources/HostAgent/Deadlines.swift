import GuestDriver
import HostModel

/// Time limits for starting and stopping a guest.
package struct Deadlines: Sendable, Equatable {
    /// The time in seconds that the guest has to shut down.
    package var grace: Int
    /// The waits of the stop ladder.
    var stop: StopTimes { StopTimes(grace: grace) }
    /// The limit in seconds for the complete start, if a person set one.
    package var start: Int?

    package init(grace: Int, start: Int?) {
        self.grace = grace
        self.start = start
    }

    /// The limit of a phase in seconds. A full distribution boots in 50 s under emulation on a slow machine, and in
    /// several minutes if twenty do so at once. A guest that is still busy at its limit gets the same time once more
    /// (Lima also waits ten minutes). A guest that does nothing is booted again.
    static func limit(of phase: Phase) -> Int {
        switch phase {
        case .preparing: 300
        case .booting: 300
        // This guest was ready before. It becomes degraded if no login works within this time.
        case .attaching: 60
        default: 900
        }
    }

    /// A booting guest that has not used its disks for this many seconds is considered to hang.
    static let silence = 60.0

    /// True if the limit that a person set for the start has passed.
    func isOver(elapsed: Double) -> Bool { start.map { elapsed >= Double($0) } ?? false }

    /// - Parameter elapsed: seconds since the agent started.
    func duration(of wait: Lifecycle.Wait, elapsed: Double) -> Duration {
        guard case .deadline(let phase) = wait else { return stop.duration(of: wait) }
        let own = Double(Self.limit(of: phase))
        guard let start else { return .seconds(own) }
        let left = max(0, Double(start) - elapsed)
        // A person who sets a limit decides how long provisioning may take. A hang of the boot is still looked for.
        return .seconds(phase == .preparing || phase == .booting ? min(own, left) : left)
    }
}
