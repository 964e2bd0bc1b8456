import GuestDriver
import HostModel

/// How long everything may take.
package struct Deadlines: Sendable, Equatable {
    /// Seconds the guest gets to shut down.
    package var grace: Int
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
        // A guest that had been ready, and is degraded when it lets nobody in.
        case .attaching: 60
        default: 900
        }
    }

    /// Seconds without any use of its disks after which a booting guest is taken to have hung.
    static let silence = 60.0

    /// Seconds QEMU gets to flush and end after `quit`.
    static let quit = 10
    /// Seconds the kernel gets to end a killed process; one that writes to a hung disk can take long.
    static let kill = 5

    /// Seconds a stop may take in all, and some for cleaning up.
    var stopSeconds: Int { grace + Self.quit + Self.kill + 2 }

    /// The limit that a person set for the start is over.
    func isOver(elapsed: Double) -> Bool { start.map { elapsed >= Double($0) } ?? false }

    /// - Parameter elapsed: seconds since the agent started.
    func duration(of wait: Lifecycle.Wait, elapsed: Double) -> Duration {
        switch wait {
        case .deadline(let phase):
            let own = Double(Self.limit(of: phase))
            return .seconds(start.map { max(0, min(own, Double($0) - elapsed)) } ?? own)
        case .halfGrace: return .seconds(Double(grace) / 2)
        case .quit: return .seconds(Self.quit)
        case .kill: return .seconds(Self.kill)
        }
    }
}
