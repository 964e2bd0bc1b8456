import GuestDriver
import HostModel

/// What shows that an instance belongs to this agent, and its repair.
extension Supervisor {
    /// - Returns: true if the file was missing and has been restored.
    nonisolated func restoreSSHConfiguration() -> Bool { parts.access.restoreSSHConfiguration() }

    /// Writes the records of the running guest again if they were removed.
    /// - Returns: true if one was missing.
    nonisolated func restoreRecords() async -> Bool {
        guard let record = await liveRecord else { return false }
        return parts.driver.finder.restoreRecord(of: SurvivingGuest(record))
    }

    private var liveRecord: GuestRecord? { phase.hasGuest ? live?.guest.record : nil }

    /// Whether the instance's path still leads to the agent's original directory.
    nonisolated var holdsDirectory: Bool { parts.claim.isInPlace }
    nonisolated var holdsClaim: Bool { parts.claim.isIntact }

    /// Renews the claim on the instance. If the claim is lost, the guest is stopped: without its directory nobody could
    /// find it, and a second guest of the same name could be started.
    @discardableResult
    nonisolated func renewClaim() -> InstanceClaim.Renewal {
        let renewal = parts.claim.renew()
        if renewal == .gone { enqueue.yield(.claimLost) }
        return renewal
    }
}
