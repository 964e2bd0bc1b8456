import HostModel
import HostOS

/// Finds a guest that runs without an agent, by its record or by evidence, and connects to it. It is separate from
/// `GuestDriver` because a guest can be found and ended even when its configuration cannot be read.
package protocol GuestFinder: Sendable {
    /// The live guest of this instance; nil when there is none. A process counts only when it is shown to belong to
    /// this instance.
    /// - Throws: `HostError` with `.held` when another program runs the instance's guest.
    func survivor() throws -> SurvivingGuest?

    /// Restores the names of the guest's sockets that somebody has removed, as far as that is possible.
    /// - Returns: whether a name was restored.
    @discardableResult
    func restoreSockets() -> Bool

    /// Why nobody can attach to the live guest at present; nil when somebody can.
    var obstacle: HostError? { get }

    /// Connects to such a guest. The guest is neither paused nor reset.
    /// - Parameter patience: how long a silent machine is asked again. A silent machine is busy or hung, not dead.
    /// - Throws: `HostError` when the guest has ended, is silent or cannot be reached; `CancellationError` as soon as
    ///   the task is cancelled.
    func attach(_ survivor: SurvivingGuest, patience: Duration) async throws -> any Guest

    /// Ends such a guest with SIGKILL, after verifying again that it belongs to this instance.
    /// - Returns: false when the guest lives on.
    func kill(_ survivor: SurvivingGuest) async -> Bool

    /// Writes the record of a live guest again when it is missing.
    /// - Returns: whether it was missing and has been written.
    @discardableResult
    func restoreRecord(of guest: SurvivingGuest) -> Bool

    /// Removes the records of a guest that has ended.
    func forget()
}

/// A guest that was found without an agent and is shown to belong to the instance.
package struct SurvivingGuest: Sendable, Equatable {
    package let record: GuestRecord

    package init(_ record: GuestRecord) { self.record = record }

    package var process: ProcessIdentity { record.process }
    package var accelerator: Accelerator { record.accelerator }
    package var sshLocalPort: Int { record.sshLocalPort }
}
