import AgentAPI
import HostModel

/// What tests read from an event without knowing its kind. A property is nil if the event does not have it.
extension EventRecord {
    package var kind: String { event.kind }

    package var message: String? {
        switch event {
        case .warning(let said), .failure(let said), .guestClockSet(let said), .guestLog(let said): said.message
        default: nil
        }
    }

    /// The rung of the ladder that was taken, or that ended the guest.
    package var step: StopStep? {
        switch event {
        case .stopStep(let taken): taken.step
        case .guestEnded(let end): end.step
        default: nil
        }
    }

    /// The exit status of an agent that ends. `provisioning-failed` has the status of a script instead.
    package var exitStatus: Int32? { if case .exiting(let end) = event { end.exitStatus } else { nil } }

    /// How many seconds it took to end the guest.
    package var seconds: Double? { if case .guestEnded(let end) = event { end.seconds } else { nil } }

    package var accelerator: Accelerator? {
        switch event {
        case .guestSpawned(let guest): guest.accelerator
        case .attached(let guest): guest.accelerator
        default: nil
        }
    }

    package var attached: WireEvent.Attached? { if case .attached(let guest) = event { guest } else { nil } }
}
