import HostModel

/// The words of the state machine: its states, what comes in, what goes out.
extension Lifecycle {
    /// Where the guest is. Cases carry what exists only then.
    package enum State: Sendable, Equatable {
        case new
        /// A guest that outlived its agent is being connected to. It is there whatever was decided meanwhile (`abort`),
        /// so that waits until the guest is ours.
        case attaching(abort: Outcome?)
        case preparing
        /// The machine's process is being started. This must come to an end before anything else can, or a process would
        /// be left: `abort` is what was decided meanwhile.
        case launching(abort: Outcome?)
        case booting
        case provisioning
        /// The guest says that it is ready; the agent tries to log in.
        case confirming
        /// A guest that had been ready under the agent before is ours, and a login is tried. It is usable all the same:
        /// whatever comes of the login, it is not ended.
        case reattached
        case running
        /// Usable, with what is wrong.
        case degraded(reason: String)
        /// The machine is ended, for another to take its place.
        case replacing(StopStep)
        case stopping(Stop)
        case ended(Outcome)
    }

    /// A stop under way.
    package struct Stop: Sendable, Equatable {
        package var step: StopStep
        /// What the end of the guest will mean.
        package var outcome: Outcome
        /// The rung on which the guest obeyed; nil until it did.
        package var obeyedAt: StopStep?

        package init(step: StopStep, outcome: Outcome, obeyedAt: StopStep? = nil) {
            self.step = step
            self.outcome = outcome
            self.obeyedAt = obeyedAt
        }

        /// The rung that ended the guest.
        package var endedBy: StopStep { obeyedAt ?? step }
    }

    package enum Input: Sendable, Equatable {
        /// `survivor`: a guest that outlived its agent is there.
        case start(survivor: Bool)
        /// The surviving guest is ours; `fault` is what a provisioning script left wrong.
        case attached(Readiness, fault: String? = nil)
        case prepared
        case launched
        /// A phase before `running` failed.
        case startFailed(HostError.Code, reason: String)
        case guestIsProvisioning
        case guestIsReady
        /// A provisioning script failed; the guest goes on.
        case provisioningFailed(reason: String)
        case accessConfirmed
        case guest(GuestEvent)
        case stopRequested(force: Bool)
        /// What a start was doing has stopped because it was told to.
        case startCancelled
        /// The current phase took too long; `evidence` is what the guest's console said last.
        case deadlinePassed(evidence: String)
        /// The guest takes too long to boot.
        case bootOverdue(BootSign, evidence: String)
        /// The last rung of the stop ladder had its time.
        case ladderTimePassed
        case heartbeat(Heartbeat)
        /// The host's clock was set, or the host slept.
        case hostClockChanged
    }

    /// How far a guest that outlived its agent had come, by that agent's log.
    package enum Readiness: Sendable, Equatable {
        /// It had said that its boot scripts are done.
        case ready
        case booting
        /// Nothing tells.
        case unknown
    }

    /// What a guest that takes long to boot looks like from outside.
    package enum BootSign: Sendable, Equatable {
        /// It does nothing any more.
        case silent
        case busy
        /// It waits for the host's disk.
        case stalled
    }

    /// What came of asking the machine whether it lives.
    package enum Heartbeat: Sendable, Equatable {
        case answered
        /// It answers, and the guest stands still for want of its disk.
        case stalled(reason: String)
        case late
        case lost
    }

    package enum Timer: Sendable, Hashable, CaseIterable {
        /// The deadline of the phase that is current.
        case phaseDeadline
        /// The next rung of the stop ladder.
        case stopLadder
    }

    package enum Action: Sendable, Equatable {
        case enter(Phase)
        case attach
        case prepare
        case launch
        /// Wait for what tells that the guest is ready, where no channel does.
        case awaitGuest
        /// Wait for the SSH server's greeting, whether there is a channel or not.
        case awaitGreeting
        case confirmAccess
        /// The same of a guest that had been ready before: one login, no probes.
        case confirmSurvivor
        case announceReady
        case beginHeartbeat
        /// Look after the guest now, not at the next beat.
        case hastenHeartbeat
        /// Open the ports of the host that are to lead to the guest, and close others.
        case forwardPorts
        /// See whether they still lead there, and open those anew that do not.
        case repairPorts
        /// Tell the guest what time it is.
        case setGuestClock
        case startTimer(Timer, Wait)
        case stopTimer(Timer)
        case emit(AgentEvent)
        case announceStopping
        /// One rung of the ladder.
        case perform(StopStep)
        /// Cancels what prepares or starts, and ends without a guest.
        case cancelStart
        /// Nothing is left to do; `endedBy` is the rung that ended the guest, nil when it ended by itself.
        case finish(Outcome, endedBy: StopStep?)
    }

    /// How long a timer runs; the owner knows the durations.
    package enum Wait: Sendable, Equatable {
        case deadline(Phase)
        /// Half of the grace.
        case halfGrace
        /// What the machine may take to flush its disks and end.
        case quit
        /// What a killed process may take to be gone.
        case kill
    }
}
