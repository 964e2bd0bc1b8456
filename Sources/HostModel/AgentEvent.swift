/// What an agent tells the world while it works. Closed: the wire form is derived from it, in `AgentAPI`.
package enum AgentEvent: Sendable, Equatable {
    case phaseChanged(Phase)
    /// The guest's process exists. `pid` is its process number on the host.
    case guestSpawned(pid: Int32, accelerator: Accelerator)
    /// The agent took over a guest that outlived its agent: the first event of such a run. `previousRun` is the run of
    /// that agent.
    case attached(pid: Int32, accelerator: Accelerator, previousRun: String?, previousAgent: Int32?)
    /// The guest rebooted itself.
    case guestRebooted
    /// A line of the guest's cloud-init log.
    case guestLog(line: String)
    /// The guest's boot scripts are done.
    case guestReady
    /// One SSH login worked, `milliseconds` after it was begun.
    case accessConfirmed(milliseconds: Int)
    /// A provisioning script ended with a status other than zero; the guest is usable all the same.
    case provisioningFailed(mode: String, script: String, status: Int)
    /// Somebody asked for a stop: a signal's name or `info socket`.
    case stopRequested(by: String, force: Bool)
    case stopStep(StopStep)
    /// The guest is gone; `step` is what ended it, nil when it ended by itself.
    case guestEnded(step: StopStep?, seconds: Double)
    /// The machine did not answer for `seconds`.
    case guestUnresponsive(seconds: Int)
    case guestResponsive
    case portForward(PortForward, PortForwardState)
    /// The guest was told the host's time, because of `reason`.
    case guestClockSet(reason: String)
    /// The configuration was read again; these keys count from now on.
    case reloaded(applied: [String], pending: [String])
    /// The agent is about to become this version of itself; the guest runs on.
    case upgrading(version: String)
    case warning(String)
    case failure(String)
    /// The last event of a run.
    case exiting(status: Int32)
}

/// The rungs of the stop ladder, in the order they are taken.
package enum StopStep: String, Sendable, Codable, CaseIterable, Comparable {
    /// The guest is asked over its channel and by the ACPI power button.
    case ask
    /// Asked once more, at half of the grace.
    case askAgain = "ask-again"
    /// The machine is told to end: QEMU flushes its disks (QMP `quit`).
    case quit
    case kill

    /// The rung above; the last has none.
    package var next: StopStep {
        switch self {
        case .ask: .askAgain
        case .askAgain: .quit
        case .quit, .kill: .kill
        }
    }

    package static func < (left: Self, right: Self) -> Bool {
        allCases.firstIndex(of: left).map { l in allCases.firstIndex(of: right).map { l < $0 } ?? false } ?? false
    }
}
