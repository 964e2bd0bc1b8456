import HostModel

/// The state machine of an instance under one agent. Inputs come in, actions go out; it has no clock and does no I/O.
///
/// One owner holds it, feeds it from one queue and performs the returned actions in order. Time comes in as an input:
/// the owner starts the timer that an action names, and feeds the timer's input when it fires. Each transition has a
/// test (LifecycleTests).
package struct Lifecycle: Sendable {
    package internal(set) var state: State = .new
    /// Set when a provisioning script failed during the start. The guest then becomes `degraded`, not `running`.
    var provisioningFault: String?
    /// Set while nobody can log in to a guest that had been ready before. The guest is `degraded` until a login works.
    var accessFault: String?
    /// Why parts of the guest are missing: directories of the host, by their mount points, or its network. The guest is
    /// `degraded` meanwhile.
    var partFaults: [String: String] = [:]
    var hasStalledWhileStarting = false
    /// A stop that was asked for while a guest was being attached to is to end it without asking.
    var isForced = false
    /// A machine that crashed or hung during the boot has been booted again. Happens once until the guest is usable.
    var hasBootedAgain = false
    /// A guest that is slow to boot has been given more time. Also happens once.
    private var hasMoreTime = false

    package init() {}

    /// There is a guest and it is not being ended.
    var hasGuestThatListens: Bool {
        switch state {
        case .booting, .provisioning, .confirming, .reattached, .running, .degraded: true
        default: false
        }
    }

    /// Whether another program may replace the agent and attach to the guest. Nothing may be under way that only this
    /// program knows of, not even a login.
    package var canBeHandedOver: Bool {
        switch state {
        case .booting, .provisioning, .running, .degraded: true
        default: false
        }
    }

    /// The phase of the current state.
    package var phase: Phase {
        switch state {
        case .attaching, .reattached: .attaching
        case .new, .preparing, .launching, .replacing: .preparing
        case .booting: .booting
        case .provisioning, .confirming: .provisioning
        case .running: .running
        case .degraded: .degraded
        case .stopping: .stopping
        case .ended(let outcome): outcome.failure == nil ? .stopped : .failed
        }
    }

    /// Takes one input and returns the actions to perform, in order. An input that does not apply to the current state
    /// is ignored: it was under way when the state changed.
    package mutating func handle(_ input: Input) -> [Action] {
        switch input {
        case .start(let survivor): return start(survivor: survivor)
        case .attached(let readiness, let fault): return attached(readiness, fault: fault)
        case .prepared: return prepared()
        case .launched: return launched()
        case .startFailed(let code, let reason): return startFailed(code, reason)
        case .guestIsProvisioning: return guestIsProvisioning()
        case .guestIsReady: return guestIsReady()
        case .provisioningFailed(let reason): return provisioningFailed(reason)
        case .partFailed(let part, let reason): return partFailed(part, reason)
        case .partWorks(let part): return partWorks(part)
        case .accessConfirmed: return accessConfirmed()
        case .guest(let event): return guestEvent(event)
        case .stopRequested(let force): return stopRequested(force: force)
        case .startCancelled: return startCancelled()
        case .deadlinePassed(let evidence): return deadlinePassed(evidence)
        case .bootOverdue(let sign, let evidence): return bootOverdue(sign, evidence)
        case .ladderTimePassed: return climb()
        case .heartbeat(let beat): return heartbeat(beat)
        case .hostClockChanged: return resynchronized()
        }
    }

    // MARK: Starting

    private mutating func start(survivor: Bool) -> [Action] {
        guard state == .new else { return [] }
        if survivor {
            state = .attaching(abort: nil)
            return [.attach]
        }
        state = .preparing
        return [.enter(.preparing), .startTimer(.phaseDeadline, .deadline(.preparing)), .prepare]
    }

    private mutating func attached(_ readiness: Readiness, fault: String?) -> [Action] {
        guard case .attaching(let abort) = state else { return [] }
        provisioningFault = fault
        if let abort { return isForced ? endMachine(outcome: abort) : beginStop(outcome: abort) }
        guard readiness == .ready else {
            state = .booting
            let wait: Action = readiness == .booting ? .awaitGuest : .awaitGreeting
            return [.enter(.booting), .startTimer(.phaseDeadline, .deadline(.booting)), .forwardPorts, wait]
        }
        state = .reattached
        return [
            .emit(.guestReady), .beginHeartbeat, .startTimer(.phaseDeadline, .deadline(.attaching)), .repairPorts,
            .setGuestClock, .confirmSurvivor,
        ]
    }

    private mutating func prepared() -> [Action] {
        guard state == .preparing else { return [] }
        state = .launching(abort: nil)
        return [.launch]
    }

    private mutating func launched() -> [Action] {
        guard case .launching(let abort) = state else { return [] }
        if let abort { return endMachine(outcome: abort) }
        state = .booting
        return [.enter(.booting), .startTimer(.phaseDeadline, .deadline(.booting)), .forwardPorts, .awaitGuest]
    }

    private mutating func startCancelled() -> [Action] {
        guard case .launching(let abort) = state else { return [] }
        return end(abort ?? .stopped)
    }

    private mutating func guestIsProvisioning() -> [Action] {
        switch state {
        case .booting:
            state = .provisioning
            return [.enter(.provisioning), .startTimer(.phaseDeadline, .deadline(.provisioning))]
        case .stopping(let stop) where stop.step <= .askAgain:
            // The guest could not hear the first request while it booted.
            return [.perform(.askAgain)]
        case .replacing(let step) where step <= .askAgain:
            return [.perform(.askAgain)]
        default: return []
        }
    }

    private mutating func guestIsReady() -> [Action] {
        switch state {
        case .booting:
            state = .confirming
            return [
                .emit(.guestReady), .enter(.provisioning), .startTimer(.phaseDeadline, .deadline(.provisioning)),
                .confirmAccess,
            ]
        case .provisioning:
            state = .confirming
            return [.emit(.guestReady), .confirmAccess]
        default: return []
        }
    }

    private mutating func provisioningFailed(_ reason: String) -> [Action] {
        provisioningFault = provisioningFault ?? reason
        return []
    }

    private mutating func accessConfirmed() -> [Action] {
        if case .degraded = state, accessFault != nil {
            accessFault = nil
            return recovered(because: [])
        }
        guard state == .confirming || state == .reattached else { return [] }
        (hasBootedAgain, hasMoreTime) = (false, false)
        if let standingFault {
            state = .degraded(reason: standingFault)
            let failures = partFaults.sorted { $0.key < $1.key }.map { Action.emit(.failure($0.value)) }
            return [.stopTimer(.phaseDeadline)] + failures + [.enter(.degraded), .announceReady, .beginHeartbeat]
        }
        state = .running
        return [.stopTimer(.phaseDeadline), .enter(.running), .announceReady, .beginHeartbeat]
    }

    private mutating func deadlinePassed(_ evidence: String) -> [Action] {
        let late: String
        switch state {
        case .preparing, .launching(nil): late = "preparing the guest"
        case .booting: late = "booting the guest"
        case .provisioning: late = "the guest's boot scripts"
        case .confirming: late = "logging in to the guest"
        case .reattached: return unconfirmed("nobody can log in to the guest\(evidence)")
        default: return []
        }
        let reason = "gave up: \(late) took too long\(evidence)"
        if case .launching(nil) = state {
            state = .launching(abort: .startFailed(code: .failed, reason: reason))
            return [.emit(.failure(reason)), .cancelStart]
        }
        return startFailed(.failed, reason)
    }

    /// Emulated machines sometimes hang while their guest boots. A guest that is still active is only slow.
    private mutating func bootOverdue(_ sign: BootSign, _ evidence: String) -> [Action] {
        guard state == .booting else { return [] }
        switch sign {
        case .stalled:
            return [.startTimer(.phaseDeadline, .deadline(.booting))]
        case .busy where !hasMoreTime:
            hasMoreTime = true
            return [.startTimer(.phaseDeadline, .deadline(.booting))]
        case .silent where !hasBootedAgain:
            // The guest may be up without saying so, so it is asked to shut down first.
            hasBootedAgain = true
            return replace(because: "the guest hung while it booted; it is booted again\(evidence)", from: .ask)
        case .busy, .silent:
            return deadlinePassed(evidence)
        }
    }

    /// Ends the machine so that another one takes its place.
    mutating func replace(because reason: String, from step: StopStep) -> [Action] {
        state = .replacing(step)
        forgetFaults()
        return [.stopTimer(.phaseDeadline), .emit(.warning(reason)), .cancelStart, .enter(.preparing)] + rung(step)
    }

    private mutating func startFailed(_ code: HostError.Code, _ reason: String) -> [Action] {
        let outcome = Outcome.startFailed(code: code, reason: reason)
        switch state {
        case .new, .preparing, .launching(nil):
            return [.emit(.failure(reason)), .cancelStart] + end(outcome)
        case .launching(let abort?):
            return end(abort)
        case .attaching(let abort):
            return [.emit(.failure(reason))] + end(abort ?? outcome)
        case .reattached:
            return unconfirmed(reason)
        case .booting, .provisioning, .confirming:
            return [.emit(.failure(reason))] + beginStop(outcome: outcome)
        default:
            return []
        }
    }

    /// Nobody can log in to a guest that had been ready before. Somebody may still be using it, so it is not ended. The
    /// agent keeps trying to log in, and a login that works makes the guest healthy again.
    mutating func unconfirmed(_ reason: String) -> [Action] {
        state = .degraded(reason: reason)
        accessFault = reason
        return [
            .stopTimer(.phaseDeadline), .emit(.failure(reason)), .enter(.degraded), .announceReady, .beginHeartbeat,
        ]
    }

    /// The last transition when there is no guest.
    mutating func end(_ outcome: Outcome) -> [Action] {
        state = .ended(outcome)
        return [.stopTimer(.phaseDeadline), .finish(outcome, endedBy: nil)]
    }
}
