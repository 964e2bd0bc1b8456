import HostModel
import HostOS

/// What makes guests of one kind. The agent is given one; what finds a guest again is a `GuestFinder`.
package protocol GuestDriver: Sendable {
    /// Finds the guests that this driver makes.
    var finder: any GuestFinder { get }

    var capabilities: GuestCapabilities { get }

    /// Makes what the guest needs in the instance's directory. Does nothing that is already done.
    /// - Throws: `HostError`.
    func prepare() async throws

    /// Starts the guest's process and connects to it.
    /// - Parameter sshLocalPort: the port of 127.0.0.1 that is to lead to the guest's SSH server.
    /// - Throws: `HostError`; no process is left then.
    func launch(sshLocalPort: Int) async throws -> any Guest
}

/// A live guest.
package protocol Guest: Sendable {
    /// What is known of it, as it is kept for the next agent.
    var record: GuestRecord { get }
    /// What happens to the guest, until it has ended; finishes after `.ended`.
    var events: AsyncStream<GuestEvent> { get }

    /// Asks the machine how it is; what stopped it and was not heard before comes as an event. One that waits for its
    /// disk is told to try again.
    /// - Returns: why the guest stands still; nil when it runs.
    /// - Throws: `HostError` when there is no answer.
    func checkAlive() async throws -> String?
    /// Seconds since the guest used one of its disks; nil where it never did.
    /// - Throws: `HostError` when there is no answer.
    func secondsIdle() async throws -> Double?
    /// Presses the power button.
    func pressPowerButton() async throws
    /// Ends the machine, disks flushed, without asking the guest.
    func quit() async throws
    /// Ends the process by SIGKILL, after verifying that it is still the same one.
    func kill()

    /// The port of the host that leads to the guest's SSH server.
    var sshForward: PortForward { get }
    /// The ports of the host that lead to the guest.
    func portForwards() async throws -> Set<PortForward>
    /// - Throws: when it cannot be, because the port is taken or not ours to open for instance.
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
    /// The machine runs again after it stood still.
    case resumed
    /// The machine stopped running by itself, for good: an internal error.
    case machineStopped(reason: String)
    /// The machine stands still until the host's disk takes what the guest writes.
    case stalled(reason: String)
    /// The accelerator stopped the machine. Another launch uses another one.
    case acceleratorFailed(reason: String)
    /// The process is gone; the text says how. `crashed`: by a fault of the machine's own program.
    case ended(reason: String, crashed: Bool = false)
}

extension Guest {
    /// The process number on the host.
    package var pid: Int32 { record.process.pid }
    package var accelerator: Accelerator { record.accelerator }
}
