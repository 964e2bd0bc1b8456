import HostModel
import HostOS

/// Starts guests of one kind for the agent. A `GuestFinder` finds such a guest again.
package protocol GuestDriver: Sendable {
    /// Finds the guests that this driver makes.
    var finder: any GuestFinder { get }

    var capabilities: GuestCapabilities { get }

    /// Creates what the guest needs in the instance's directory. Anything that is already there is kept.
    /// - Parameter report: is called while something has to be downloaded.
    /// - Throws: `HostError`.
    func prepare(report: @escaping TransferProgress.Report) async throws

    /// Starts the guest's process and connects to it.
    /// - Parameters:
    ///   - sshLocalPort: the port of 127.0.0.1 that is to lead to the guest's SSH server.
    ///   - notice: what the guest is told when it boots.
    /// - Throws: `HostError`. No process is left behind then.
    func launch(sshLocalPort: Int, notice: BootNotice) async throws -> any Guest
}

/// A live guest.
package protocol Guest: Sendable {
    /// What is stored about the guest for the next agent.
    var record: GuestRecord { get }
    /// The events of the guest. Finishes after `.ended`.
    var events: AsyncStream<GuestEvent> { get }

    /// Asks the machine for its state. If the machine has stopped and no event said why, an event is sent now. A
    /// machine that waits for its disk is told to try again.
    /// - Returns: why the guest is stalled; nil when it runs.
    /// - Throws: `HostError` when there is no answer.
    func checkAlive() async throws -> String?
    /// Seconds since the guest last used one of its disks; nil when it never did.
    /// - Throws: `HostError` when there is no answer.
    func secondsIdle() async throws -> Double?
    /// Presses the power button.
    func pressPowerButton() async throws
    /// Ends the machine without asking the guest. The disks are flushed.
    func quit() async throws
    /// Ends the process with SIGKILL, after verifying that it is still the same process.
    func kill()

    /// The snapshots of the guest's disks.
    /// - Throws: `HostError` when there is no answer.
    func snapshots() async throws -> [DiskSnapshot]
    /// Takes or deletes a snapshot, or returns to one. The guest stands still meanwhile. The work goes on to its end even
    /// if the task is cancelled.
    /// - Parameter willChange: is called right before the first disk changes, when all that can be checked was. Nothing
    ///   changes if it throws.
    /// - Throws: `HostError`; `GuestStandsStill` for a guest that cannot go on, which also sends an event.
    func change(_ snapshot: SnapshotChange, willChange: @escaping @Sendable () throws -> Void) async throws

    /// The guest's address on the machine's network, at which forwards of the network reach it; nil if this network forwards
    /// nothing but the port of the SSH server.
    var networkAddress: IPAddress? { get }
    /// The port of the host that is forwarded to the guest's SSH server.
    var sshForward: PortForward { get }
    /// The ports of the host that are forwarded to the guest.
    func portForwards() async throws -> Set<PortForward>
    /// - Throws: when the port cannot be opened, for instance because it is taken or needs a permission.
    func open(_ forward: PortForward) async throws
    func close(_ forward: PortForward) async throws
}

/// What a driver reports about its guest.
package enum GuestEvent: Sendable, Equatable {
    /// The guest powered itself off; the process still lives and waits for `quit`.
    case poweredOff
    /// The guest rebooted itself.
    case rebooted
    /// The guest's kernel panicked.
    case panicked
    /// The machine runs again after it had stopped.
    case resumed
    /// An internal error stopped the machine for good.
    case machineStopped(reason: String)
    /// The machine is stalled until the host's disk accepts what the guest writes.
    case stalled(reason: String)
    /// The accelerator failed and stopped the machine. The next launch uses another accelerator.
    case acceleratorFailed(reason: String)
    /// The guest has no network any more. The machine runs.
    case networkLost(reason: String)
    /// The guest has its network again. Connections of before have ended.
    case networkRestored
    /// The process has ended, and `reason` says how. `crashed` means a fault of the machine's own program.
    case ended(reason: String, crashed: Bool = false)
}

extension Guest {
    /// The process number on the host.
    package var pid: Int32 { record.process.pid }
    package var accelerator: Accelerator { record.accelerator }
}
