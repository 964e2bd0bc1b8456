import HostModel
import HostOS

/// What finds a guest that lives although no agent supervises it, by its record or by evidence, and connects to it. Apart
/// from `GuestDriver`: a guest can be found, and ended, where its configuration cannot be read.
package protocol GuestFinder: Sendable {
    /// A guest of this instance that lives; nil when there is none. A process that is not shown to belong to this instance
    /// is none.
    /// - Throws: `HostError` with `.held` where another program runs the instance's guest.
    func survivor() throws -> SurvivingGuest?

    /// Gives the guest's sockets the names back that somebody has removed, where that can be done.
    /// - Returns: one was gone.
    @discardableResult
    func restoreSockets() -> Bool

    /// Why nobody could attach to the live guest just now; nil where somebody could.
    var obstacle: HostError? { get }

    /// Connects to such a guest, which is neither paused nor reset.
    /// - Parameter patience: how long a silent machine is asked. Silence means busy or hung, not dead.
    /// - Throws: `HostError`: the guest has ended, is silent, or cannot be reached. `CancellationError`, at once.
    func attach(_ survivor: SurvivingGuest, patience: Duration) async throws -> any Guest

    /// Ends such a guest by SIGKILL, after verifying once more that it belongs to this instance.
    /// - Returns: false when it lives on.
    func kill(_ survivor: SurvivingGuest) async -> Bool

    /// Writes the record of a live guest anew, where it is missing.
    /// - Returns: it was gone.
    @discardableResult
    func restoreRecord(of guest: SurvivingGuest) -> Bool

    /// Removes the records of a guest that has ended.
    func forget()
}

/// A guest found without an agent, shown to belong to the instance.
package struct SurvivingGuest: Sendable, Equatable {
    package let record: GuestRecord

    package init(_ record: GuestRecord) { self.record = record }

    package var process: ProcessIdentity { record.process }
    package var accelerator: Accelerator { record.accelerator }
    package var sshLocalPort: Int { record.sshLocalPort }
}
