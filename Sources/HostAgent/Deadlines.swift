import GuestDriver
import HostModel

/// How long everything may take.
package struct Deadlines: Sendable, Equatable {
    /// Seconds the guest gets to shut down.
    package var grace: Int
    /// How long the stop ladder waits.
    var stop: StopTimes { StopTimes(grace: grace) }
    /// Seconds for the whole start, when a person set a limit.
    package var start: Int?

    package init(grace: Int, start: Int?) {
        self.grace = grace
        self.start = start
    }

    /// Seconds a phase may take. A full distribution boots in 50 s under emulation on a slow machine, and in several
    /// minutes where twenty do so at once: one that is busy gets the time twice (Lima waits ten minutes, too), one that
    /// does nothing is booted again after it.
    static func limit(of phase: Phase) -> Int {
        switch phase {
        case .preparing: 300
        case .booting: 300
        // For a guest that had been ready before. It is degraded if no login works within this time.
        case .attaching: 60
        default: 900
        }
    }

    /// Seconds without any use of its disks after which a booting guest is taken to have hung.
    static let silence = 60.0

    /// The limit that a person set for the start is over.
    func isOver(elapsed: Double) -> Bool { start.map { elapsed >= Double($0) } ?? false }

    /// - Parameter elapsed: seconds since the agent started.
    func duration(of wait: Lifecycle.Wait, elapsed: Double) -> Duration {
        guard case .deadline(let phase) = wait else { return stop.duration(of: wait) }
        let own = Double(Self.limit(of: phase))
        return .seconds(start.map { max(0, min(own, Double($0) - elapsed)) } ?? own)
    }
}
