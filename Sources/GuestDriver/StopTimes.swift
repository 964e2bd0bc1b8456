import HostModel

/// How long the rungs of the stop ladder wait.
package struct StopTimes: Sendable, Equatable {
    /// Seconds the guest gets to shut down.
    package var grace: Int
    /// Seconds the machine gets to flush its disks and end.
    package let quit = 10
    /// Seconds the kernel gets to end a killed process. A process that writes to a hung disk can take long.
    package let kill = 5

    package init(grace: Int) { self.grace = grace }

    /// Seconds a whole stop may take, including time to clean up.
    package var total: Int { grace + quit + kill + 2 }

    /// - Parameter wait: a wait of the stop ladder. The deadline of a phase does not belong here and gives zero.
    package func duration(of wait: Lifecycle.Wait) -> Duration {
        switch wait {
        case .deadline: .zero
        case .halfGrace: .seconds(Double(grace) / 2)
        case .quit: .seconds(quit)
        case .kill: .seconds(kill)
        }
    }
}
