/// How an agent's work ended.
package enum Outcome: Sendable, Equatable {
    /// The guest was stopped because somebody asked.
    case stopped
    /// The guest powered itself off.
    case poweredOff
    /// The guest was lost: killed, panicked, hung.
    case guestLost(reason: String)
    /// The guest never became ready. `code` says whether a retry can succeed.
    case startFailed(code: HostError.Code, reason: String)

    /// What went wrong, as a sentence for people; nil when nothing did.
    package var failure: String? {
        switch self {
        case .stopped, .poweredOff: nil
        case .guestLost(let reason), .startFailed(_, let reason): reason
        }
    }

    /// The exit status of the agent. It depends only on the outcome, the keep-alive policy and the manager.
    ///
    /// systemd reads the status through `SuccessExitStatus=` and `RestartPreventExitStatus=`. launchd only
    /// distinguishes zero from non-zero, so the status is 1 there when the agent is to be restarted, and 0 otherwise.
    /// The event log keeps the actual outcome.
    package func exitStatus(keepAlive: KeepAlive, manager: ManagerKind) -> HostExitStatus {
        let truth: HostExitStatus =
            switch self {
            case .stopped: .stoppedOnRequest
            case .poweredOff: .success
            case .guestLost: .failure
            case .startFailed(let code, _): HostError(code, "").exitStatus
            }
        guard manager == .launchd else { return truth }
        switch (truth, keepAlive) {
        case (_, .no): return .success
        case (.failure, _): return .failure
        case (.success, .always): return .failure
        default: return .success
        }
    }
}
