import HostModel

/// The state machine of an instance under one agent. Inputs come in, actions go out; it has no clock and does no I/O.
///
/// One owner holds it, feeds it from one queue and performs the returned actions in order. Time comes in as an input:
/// the owner starts the timer that an action names, and feeds the timer's input when it fires. Each transition has a
/// test (LifecycleTests).
package struct Lifecycle: Sendable {
    package internal(set) var state: State = .new
    /// Set when a provisioning script failed during the start. The guest then becomes `degraded`, not `running`.
    private var provisioningFault: String?
    /// Set while nobody can log in to a guest that had been ready before. The guest is `degraded` until a login works.
    private var accessFault: String?
    /// Why parts of the guest are missing: directories of the host, by their mount points, or its network. The guest is
    /// `degraded` meanwhile.
    var partFaults: [String: String] = [:]
    private var hasStalledWhileStarting = false
    /// A stop that was asked for while a guest was being attached to is to end it without asking.
    var isForced = false
    /// A machine that crashed or hung during the boot has been booted again. Happens once until the guest is usable.
    private var hasBootedAgain = false
    /// A guest that is slow to boot has been given more time. Also happens once.
    private var hasMoreTime = false

    package init() {}

    /// There is a guest and it is not being ended.
    private var hasGuestThatListens: Bool {
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
    private mutating func replace(because reason: String, from step: StopStep) -> [Action] {
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
    private mutating func unconfirmed(_ reason: String) -> [Action] {
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

    // MARK: What the guest does

    private mutating func guestEvent(_ event: GuestEvent) -> [Action] {
        switch (event, state) {
        case (_, .ended), (_, .new): return []
        case (.stalled(let reason), _): return stall(reason)
        // A stalled machine that is told every second to continue resumes and stops again. Only the heartbeat shows
        // that it runs.
        case (.resumed, .degraded): return []
        case (.resumed, _): return resynchronized()
        case (.ended, .replacing):
            state = .preparing
            return [.stopTimer(.stopLadder), .startTimer(.phaseDeadline, .deadline(.preparing)), .prepare]
        case (.poweredOff, .replacing(let step)), (.panicked, .replacing(let step)),
            (.machineStopped, .replacing(let step)), (.acceleratorFailed, .replacing(let step)):
            guard step < .quit else { return [] }
            state = .replacing(.quit)
            return rung(.quit)
        case (_, .replacing): return []
        case (.networkLost(let reason), _): return partFailed(Self.network, reason)
        case (.networkRestored, _): return partWorks(Self.network) + (phase.isUsable ? [.repairPorts] : [])
        case (.rebooted, .stopping): return []
        case (.rebooted, _):
            state = .booting
            forgetFaults(except: Self.network)
            return [
                .cancelStart, .emit(.guestRebooted), .enter(.booting),
                .startTimer(.phaseDeadline, .deadline(.booting)), .awaitGuest,
            ]
        case (.poweredOff, .stopping(let stop)):
            guard stop.step < .quit else { return [] }
            state = .stopping(Stop(step: .quit, outcome: stop.outcome, obeyedAt: stop.step))
            return rung(.quit)
        case (.poweredOff, _):
            return endMachine(outcome: .poweredOff)
        case (.panicked, _):
            return machineLost("the guest's kernel panicked")
        case (.machineStopped(let reason), _), (.acceleratorFailed(let reason), .stopping):
            return machineLost(reason)
        case (.acceleratorFailed(let reason), _):
            return replace(because: reason, from: .quit)
        case (.ended, .stopping(let stop)):
            state = .ended(stop.outcome)
            let endedBy = stop.outcome == .poweredOff ? nil : stop.endedBy
            return [.stopTimer(.stopLadder), .finish(stop.outcome, endedBy: endedBy)]
        case (.ended(let reason, crashed: true), .booting) where !hasBootedAgain,
            (.ended(let reason, crashed: true), .provisioning) where !hasBootedAgain:
            // Such crashes happen under emulation, and so far nothing is lost that anybody was told of.
            hasBootedAgain = true
            forgetFaults()
            state = .preparing
            return [
                .cancelStart, .emit(.warning("the machine \(reason) while the guest booted; it is booted again")),
                .enter(.preparing), .startTimer(.phaseDeadline, .deadline(.preparing)), .prepare,
            ]
        case (.ended(let reason, _), .running), (.ended(let reason, _), .degraded),
            (.ended(let reason, _), .reattached):
            return ended(.guestLost(reason: "the machine \(reason) while the guest was running"))
        case (.ended(let reason, _), _):
            return ended(.startFailed(code: .failed, reason: "the machine \(reason) before the guest was ready"))
        }
    }

    /// The machine is unusable, but its process lives.
    private mutating func machineLost(_ reason: String) -> [Action] {
        if case .stopping(let stop) = state, stop.step >= .quit { return [] }
        return [.emit(.failure(reason))] + endMachine(outcome: .guestLost(reason: reason))
    }

    /// The process has ended without a request.
    private mutating func ended(_ outcome: Outcome) -> [Action] {
        state = .ended(outcome)
        let failure = outcome.failure.map { [Action.emit(.failure($0))] } ?? []
        return failure + [.stopTimer(.phaseDeadline), .cancelStart, .announceStopping, .finish(outcome, endedBy: nil)]
    }

    private mutating func heartbeat(_ beat: HeartbeatResult) -> [Action] {
        switch (beat, state) {
        case (.stalled(let reason), _): return stall(reason)
        case (.late, .running):
            let reason = "the machine does not answer"
            state = .degraded(reason: reason)
            return [.enter(.degraded)]
        case (.answered, .degraded): return recovered(because: [.emit(.guestResponsive)])
        case (.lost, .running), (.lost, .degraded), (.lost, .booting), (.lost, .provisioning), (.lost, .confirming),
            (.lost, .reattached):
            let outcome = Outcome.guestLost(reason: "the machine did not answer for a minute and was killed")
            state = .stopping(Stop(step: .kill, outcome: outcome))
            return [
                .emit(.failure(outcome.failure ?? "")), .enter(.stopping), .announceStopping, .cancelStart,
                .stopTimer(.phaseDeadline),
            ] + rung(.kill)
        default: return []
        }
    }

    /// What remains wrong with a guest whose machine answers.
    var standingFault: String? {
        accessFault ?? provisioningFault ?? partFaults.min { $0.key < $1.key }?.value
    }

    /// The guest is healthy again, unless there are other faults: those remain.
    private mutating func recovered(because actions: [Action]) -> [Action] {
        if let standingFault {
            state = .degraded(reason: standingFault)
            return resynchronized()
        }
        state = .running
        return actions + [.enter(.running)] + resynchronized()
    }

    /// The guest boots.
    /// - Parameter part: what its machine is still without; nil for another machine.
    private mutating func forgetFaults(except part: String? = nil) {
        (provisioningFault, accessFault) = (nil, nil)
        partFaults = partFaults.filter { $0.key == part }
    }

    /// The host slept or the guest was stalled. The guest's clock is behind and connections have died.
    private func resynchronized() -> [Action] {
        guard hasGuestThatListens else { return [] }
        return phase.isUsable ? [.setGuestClock, .repairPorts] : [.setGuestClock]
    }

    /// The guest waits for its disk. Nothing is lost while it waits, so it is not ended.
    private mutating func stall(_ reason: String) -> [Action] {
        switch state {
        case .running:
            state = .degraded(reason: reason)
            return [.emit(.failure(reason)), .enter(.degraded), .hastenHeartbeat]
        // The guest had been ready, and nobody can log in until there is room.
        case .reattached: return unconfirmed(reason) + [.hastenHeartbeat]
        // The login had failed first, for this reason.
        case .degraded(let known) where known == accessFault && known != reason:
            accessFault = reason
            state = .degraded(reason: reason)
            return [.emit(.failure(reason)), .hastenHeartbeat]
        case .booting, .provisioning, .confirming:
            guard !hasStalledWhileStarting else { return [] }
            hasStalledWhileStarting = true
            return [.emit(.warning(reason)), .beginHeartbeat, .hastenHeartbeat]
        default: return []
        }
    }
}
