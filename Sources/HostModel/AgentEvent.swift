/// An event of an agent's run. The set is closed: `AgentAPI` derives the wire form from it.
package enum AgentEvent: Sendable, Equatable {
    case phaseChanged(Phase)
    /// The guest's process exists. `pid` is its process number on the host.
    case guestSpawned(pid: Int32, accelerator: Accelerator)
    /// The agent attached to a guest whose previous agent has ended. This is the first event of such a run.
    /// `previousRun` is the run of the previous agent.
    case attached(pid: Int32, accelerator: Accelerator, previousRun: String?, previousAgent: Int32?)
    /// The guest rebooted itself.
    case guestRebooted
    /// A file that the guest is made from is being downloaded.
    case download(TransferProgress)
    /// A line of the guest's cloud-init log.
    case guestLog(line: String)
    /// The guest's boot scripts are done.
    case guestReady
    /// An SSH login succeeded; it took `milliseconds`.
    case accessConfirmed(milliseconds: Int)
    /// A provisioning script exited with a non-zero status. The guest is usable all the same.
    case provisioningFailed(mode: String, script: String, status: Int)
    /// A stop was requested. `by` is the name of a signal, or `info socket`.
    case stopRequested(by: String, force: Bool)
    case stopStep(StopStep)
    /// The guest has ended. `step` is the rung that ended it, nil when it ended by itself.
    case guestEnded(step: StopStep?, seconds: Double)
    /// The machine did not answer for `seconds`.
    case guestUnresponsive(seconds: Int)
    case guestResponsive
    case portForward(Forward, PortForwardState)
    case mount(Mount, MountState)
    /// The guest's clock was set to the host's time, because of `reason`.
    case guestClockSet(reason: String)
    /// The configuration was reloaded. The `applied` keys take effect now, the `pending` ones do not yet.
    case reloaded(applied: [String], pending: [String])
    /// A snapshot of the guest's disks was taken, deleted or returned to.
    case snapshot(SnapshotChange)
    /// The agent is about to replace itself with this version. The guest keeps running.
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
    /// The guest is asked again after half of the grace.
    case askAgain = "ask-again"
    /// The machine is told to exit. QEMU flushes its disks (QMP `quit`).
    case quit
    case kill

    /// The next rung. The last rung is followed by itself.
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
