/// How an agent's work ended.
package enum Outcome: Sendable, Equatable {
    /// The guest was stopped because somebody asked.
    case stopped
    /// The guest powered itself off.
    case poweredOff
    /// The guest was lost: killed, panicked, hung.
    case guestLost(reason: String)
    /// The guest never became ready; `code` says whether another try makes sense.
    case startFailed(code: HostError.Code, reason: String)

    /// The sentence for people, nil where nothing went wrong.
    package var failure: String? {
        switch self {
        case .stopped, .poweredOff: nil
        case .guestLost(let reason), .startFailed(_, let reason): reason
        }
    }

    /// The exit status of the agent: one pure function of outcome, policy and manager.
    ///
    /// systemd reads the status through `SuccessExitStatus=` and `RestartPreventExitStatus=`; launchd knows only zero
    /// and non-zero, so there it is 1 for "start me again" and 0 otherwise, and the event log has the truth.
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
