import HostModel

/// What the guest and its machine do.
extension Lifecycle {
    mutating func guestEvent(_ event: GuestEvent) -> [Action] {
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
    mutating func machineLost(_ reason: String) -> [Action] {
        if case .stopping(let stop) = state, stop.step >= .quit { return [] }
        return [.emit(.failure(reason))] + endMachine(outcome: .guestLost(reason: reason))
    }

    /// The process has ended without a request.
    mutating func ended(_ outcome: Outcome) -> [Action] {
        state = .ended(outcome)
        let failure = outcome.failure.map { [Action.emit(.failure($0))] } ?? []
        return failure + [.stopTimer(.phaseDeadline), .cancelStart, .announceStopping, .finish(outcome, endedBy: nil)]
    }

    mutating func heartbeat(_ beat: HeartbeatResult) -> [Action] {
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
    mutating func recovered(because actions: [Action]) -> [Action] {
        if let standingFault {
            state = .degraded(reason: standingFault)
            return resynchronized()
        }
        state = .running
        return actions + [.enter(.running)] + resynchronized()
    }

    /// The guest boots.
    /// - Parameter part: what its machine is still without; nil for another machine.
    mutating func forgetFaults(except part: String? = nil) {
        (provisioningFault, accessFault) = (nil, nil)
        partFaults = partFaults.filter { $0.key == part }
    }

    /// The host slept or the guest was stalled. The guest's clock is behind and connections have died.
    func resynchronized() -> [Action] {
        guard hasGuestThatListens else { return [] }
        return phase.isUsable ? [.setGuestClock, .repairPorts] : [.setGuestClock]
    }

    /// The guest waits for its disk. Nothing is lost while it waits, so it is not ended.
    mutating func stall(_ reason: String) -> [Action] {
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
