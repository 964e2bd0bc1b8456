import HostModel

/// The vocabulary of the state machine: its states, inputs and actions.
extension Lifecycle {
    /// The state of the guest. Each case carries only what exists in that state.
    package enum State: Sendable, Equatable {
        case new
        /// The agent is connecting to a guest that outlived its agent. `abort` is what was decided meanwhile. It waits
        /// until the agent is connected, because the guest is there in any case.
        case attaching(abort: Outcome?)
        case preparing
        /// The machine's process is being started. The launch has to finish before anything else, or a process could be
        /// left behind. `abort` is what was decided meanwhile.
        case launching(abort: Outcome?)
        case booting
        case provisioning
        /// The guest says that it is ready, and the agent tries to log in.
        case confirming
        /// The agent is connected to a guest that had been ready under the previous agent, and tries to log in. The
        /// guest is usable, so it is not ended even if the login fails.
        case reattached
        case running
        /// The guest is usable, but something is wrong.
        case degraded(reason: String)
        /// The machine is being ended so that another one takes its place.
        case replacing(StopStep)
        case stopping(Stop)
        case ended(Outcome)
    }

    /// A stop under way.
    package struct Stop: Sendable, Equatable {
        package var step: StopStep
        /// The outcome once the guest has ended.
        package var outcome: Outcome
        /// The rung at which the guest obeyed; nil until it does.
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
        /// `survivor` says whether there is a guest that outlived its agent.
        case start(survivor: Bool)
        /// The agent is connected to the surviving guest. `fault` is the provisioning failure it has from before.
        case attached(Readiness, fault: String? = nil)
        case prepared
        case launched
        /// A phase before `running` failed.
        case startFailed(HostError.Code, reason: String)
        case guestIsProvisioning
        case guestIsReady
        /// A provisioning script failed. The guest keeps running.
        case provisioningFailed(reason: String)
        /// A part of the guest is missing: a directory of the host, named by its mount point.
        case partFailed(String, reason: String)
        /// The part is there, perhaps again.
        case partWorks(String)
        case accessConfirmed
        case guest(GuestEvent)
        case stopRequested(force: Bool)
        /// The work of a start has stopped because it was told to.
        case startCancelled
        /// The current phase took too long. `evidence` is the last output of the guest's console.
        case deadlinePassed(evidence: String)
        /// The guest takes too long to boot.
        case bootOverdue(BootSign, evidence: String)
        /// The time of the current rung of the stop ladder has passed.
        case ladderTimePassed
        case heartbeat(HeartbeatResult)
        /// The host's clock was set, or the host slept.
        case hostClockChanged
    }

    /// How far a surviving guest had come, according to its previous agent's log.
    package enum Readiness: Sendable, Equatable {
        /// The guest had reported that its boot scripts are done.
        case ready
        case booting
        /// The log does not say.
        case unknown
    }

    /// What a slow guest looks like from outside while it boots.
    package enum BootSign: Sendable, Equatable {
        /// The guest does nothing any more.
        case silent
        case busy
        /// The guest waits for the host's disk.
        case stalled
    }

    /// The result of asking the machine whether it lives.
    package enum HeartbeatResult: Sendable, Equatable {
        case answered
        /// The machine answers, but the guest is stalled because its disk is not available.
        case stalled(reason: String)
        case late
        case lost
    }

    package enum Timer: Sendable, Hashable, CaseIterable {
        /// The deadline of the current phase.
        case phaseDeadline
        /// The time of the current rung of the stop ladder.
        case stopLadder
    }

    package enum Action: Sendable, Equatable {
        case enter(Phase)
        case attach
        case prepare
        case launch
        /// Wait until the guest is ready. Without a channel, the SSH greeting is the only sign of readiness.
        case awaitGuest
        /// Wait for the SSH server's greeting, even if there is a channel.
        case awaitGreeting
        case confirmAccess
        /// Confirm access to a guest that had been ready before: one login, no probes.
        case confirmSurvivor
        case announceReady
        case beginHeartbeat
        /// Check the guest now instead of at the next beat.
        case hastenHeartbeat
        /// Open the host ports that are to be forwarded to the guest, and close others.
        case forwardPorts
        /// Check whether those ports still lead to the guest, and open again those that do not.
        case repairPorts
        /// Tell the guest what time it is.
        case setGuestClock
        case startTimer(Timer, Wait)
        case stopTimer(Timer)
        case emit(AgentEvent)
        case announceStopping
        /// One rung of the ladder.
        case perform(StopStep)
        /// Cancel the work that prepares or starts the guest.
        case cancelStart
        /// Nothing is left to do. `endedBy` is the rung that ended the guest, nil when it ended by itself.
        case finish(Outcome, endedBy: StopStep?)
    }

    /// How long a timer runs. The owner knows the durations.
    package enum Wait: Sendable, Equatable {
        case deadline(Phase)
        /// Half of the grace.
        case halfGrace
        /// The time the machine has to flush its disks and end.
        case quit
        /// The time a killed process has to be gone.
        case kill
    }
}
