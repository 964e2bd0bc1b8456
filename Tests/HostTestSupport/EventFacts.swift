import AgentAPI
import HostModel

/// What tests ask of an event without knowing its kind: nil where it does not have it.
extension EventRecord {
    package var kind: String { event.kind }

    package var message: String? {
        switch event {
        case .warning(let said), .failure(let said), .guestClockSet(let said), .guestLog(let said): said.message
        default: nil
        }
    }

    /// The rung that was taken, or that ended the guest.
    package var step: StopStep? {
        switch event {
        case .stopStep(let taken): taken.step
        case .guestEnded(let end): end.step
        default: nil
        }
    }

    /// Of an agent that ends; `provisioning-failed` has one of a script.
    package var exitStatus: Int32? { if case .exiting(let end) = event { end.exitStatus } else { nil } }

    /// Seconds that ending the guest took.
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
