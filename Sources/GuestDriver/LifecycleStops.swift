import HostModel

/// How a guest and its machine are ended: the stop ladder and the transitions that start it.
extension Lifecycle {
    mutating func endMachine(outcome: Outcome) -> [Action] {
        let kept: Outcome = if case .stopping(let stop) = state { stop.outcome } else { outcome }
        state = .stopping(Stop(step: .quit, outcome: kept))
        return [.stopTimer(.phaseDeadline), .enter(.stopping), .announceStopping] + rung(.quit)
    }

    /// A stop request counts in every state. A guest that somebody stopped is not brought back, even if it had failed
    /// or powered itself off a moment before.
    mutating func stopRequested(force: Bool) -> [Action] {
        switch state {
        case .new, .preparing:
            return [.announceStopping, .cancelStart] + end(.stopped)
        case .launching(nil):
            state = .launching(abort: .stopped)
            return [.announceStopping, .cancelStart]
        case .attaching:
            state = .attaching(abort: .stopped)
            isForced = isForced || force
            return [.announceStopping]
        case .launching:
            state = .launching(abort: .stopped)
            return []
        case .ended:
            return []
        case .replacing(let step):
            let isShort = force && step < .quit
            state = .stopping(Stop(step: isShort ? .quit : step, outcome: .stopped))
            return [.enter(.stopping), .announceStopping] + (isShort ? rung(.quit) : [])
        case .stopping(var stop):
            stop.outcome = .stopped
            let isShorter = force && stop.step < .quit
            if isShorter { (stop.step, stop.obeyedAt) = (.quit, nil) }
            state = .stopping(stop)
            return isShorter ? rung(.quit) : []
        case .booting, .provisioning, .confirming, .reattached, .running, .degraded:
            return force ? endMachine(outcome: .stopped) : beginStop(outcome: .stopped)
        }
    }

    mutating func beginStop(outcome: Outcome) -> [Action] {
        state = .stopping(Stop(step: .ask, outcome: outcome))
        return [.stopTimer(.phaseDeadline), .enter(.stopping), .announceStopping, .cancelStart] + rung(.ask)
    }

    /// Goes to the next rung, because the last one did not end the guest in time.
    mutating func climb() -> [Action] {
        switch state {
        case .replacing(let step):
            state = .replacing(step.next)
            return rung(step.next)
        case .stopping(var stop):
            stop.step = stop.step.next
            state = .stopping(stop)
            return rung(stop.step)
        default: return []
        }
    }

    func rung(_ step: StopStep) -> [Action] {
        let wait: Wait =
            switch step {
            case .ask, .askAgain: .halfGrace
            case .quit: .quit
            case .kill: .kill
            }
        return [.perform(step), .startTimer(.stopLadder, wait)]
    }
}
