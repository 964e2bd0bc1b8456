import HostModel
import HostOS

/// What can create and find a guest. One implementation a kind of machine; the agent is given one.
package protocol GuestDriver: Sendable {
    /// Makes what the guest needs in the instance's directory. Does nothing that is already done.
    /// - Throws: `HostError`.
    func prepare() async throws

    /// Starts the guest's process and connects to it.
    /// - Parameter sshLocalPort: the port of 127.0.0.1 that is to lead to the guest's SSH server.
    /// - Throws: `HostError`; no process is left then.
    func launch(sshLocalPort: Int) async throws -> any Guest

    /// A guest of this instance that lives although no agent holds it; nil when there is none.
    func survivor() throws -> SurvivingGuest?

    /// Gives the guest's sockets the names back that somebody has removed, where that can be done.
    /// - Returns: one was gone.
    @discardableResult
    func restoreSockets() -> Bool

    /// Connects to such a guest, which is neither paused nor reset. One whose machine does not answer for a minute is
    /// killed.
    /// - Throws: `HostError` when there is no guest any more.
    func attach(_ survivor: SurvivingGuest) async throws -> any Guest

    /// Ends such a guest: asked and given `grace` seconds, its disks flushed; with `force` without asking, and killed
    /// when it does not answer.
    /// - Throws: `HostError` when it lives on.
    func end(_ survivor: SurvivingGuest, grace: Int, force: Bool) async throws

    /// Removes the records of a guest that has ended.
    func forget()
}

/// A guest found without an agent, known by more than its number.
package struct SurvivingGuest: Sendable, Equatable {
    package let process: ProcessIdentity
    package let accelerator: Accelerator
    /// The port of 127.0.0.1 that leads to its SSH server.
    package let sshLocalPort: Int
    /// The configuration it was started with, a digest for each key that counts at a start only; nil where nothing tells.
    package let startedWith: [String: String]?

    package init(
        process: ProcessIdentity, accelerator: Accelerator, sshLocalPort: Int, startedWith: [String: String]?
    ) {
        self.startedWith = startedWith
        self.process = process
        self.accelerator = accelerator
        self.sshLocalPort = sshLocalPort
    }
}

/// A live guest.
package protocol Guest: Sendable {
    /// The process number on the host.
    var pid: Int32 { get }
    var accelerator: Accelerator { get }
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
