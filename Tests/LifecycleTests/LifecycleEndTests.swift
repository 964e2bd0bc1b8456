import GuestDriver
import HostModel
import Testing

/// The state machine's transitions on the way down, and events that guests and machines cause by themselves.
@Suite struct LifecycleEndTests: LifecycleSuite {
    // MARK: A launch must run to its end

    @Test func aStopWhileLaunchingWaitsForTheLaunch() {
        var lifecycle = machine(Self.toLaunching)
        let actions = lifecycle.handle(.stopRequested(force: false))
        #expect(actions == [.announceStopping, .cancelStart])
        #expect(lifecycle.state == .launching(abort: .stopped))
        #expect(lifecycle.handle(.stopRequested(force: true)) == [])

        var arrived = lifecycle
        #expect(arrived.handle(.launched).contains(.perform(.quit)), "the process that came must end")
        #expect(arrived.handle(.guest(.ended(reason: "x"))).contains(.finish(.stopped, endedBy: .quit)))

        var cancelled = lifecycle
        #expect(cancelled.handle(.startCancelled).last == .finish(.stopped, endedBy: nil))

        var failed = lifecycle
        #expect(failed.handle(.startFailed(.failed, reason: "x")).last == .finish(.stopped, endedBy: nil))
    }

    @Test func aDeadlineWhileLaunchingKeepsItsReason() {
        var lifecycle = machine(Self.toLaunching)
        #expect(lifecycle.handle(.deadlinePassed(evidence: "")).contains(.cancelStart))
        _ = lifecycle.handle(.startCancelled)
        #expect(lifecycle.phase == .failed)
    }

    @Test func aCancelledStartElsewhereIsNoNews() {
        var lifecycle = machine(Self.toConfirming + [.stopRequested(force: false)])
        #expect(lifecycle.handle(.startCancelled) == [])
    }

    // MARK: Stopping

    @Test(arguments: [toBooting, toProvisioning, toConfirming, toRunning])
    func aStopIsHonouredInEveryStateWithAGuest(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        #expect(
            lifecycle.handle(.stopRequested(force: false)) == [
                .stopTimer(.phaseDeadline), .enter(.stopping), .announceStopping, .cancelStart, .perform(.ask),
                .startTimer(.stopLadder, .halfGrace),
            ])
    }

    @Test(arguments: [[], [.start(survivor: false)]] as [[Input]])
    func aStopWithoutAGuestEndsAtOnce(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        #expect(lifecycle.handle(.stopRequested(force: false)).last == .finish(.stopped, endedBy: nil))
        #expect(lifecycle.handle(.stopRequested(force: true)) == [])
    }

    @Test func theWholeLadder() {
        var lifecycle = machine(Self.toRunning + [.stopRequested(force: false)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.askAgain), .startTimer(.stopLadder, .halfGrace)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.quit), .startTimer(.stopLadder, .quit)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.kill), .startTimer(.stopLadder, .kill)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.kill), .startTimer(.stopLadder, .kill)])
        #expect(lifecycle.handle(.guest(.ended(reason: "x"))).last == .finish(.stopped, endedBy: .kill))
    }

    @Test func aGuestThatObeysIsTheStepThatAskedIt() {
        var lifecycle = machine(Self.toRunning + [.stopRequested(force: false), .ladderTimePassed])
        #expect(lifecycle.handle(.guest(.poweredOff)) == [.perform(.quit), .startTimer(.stopLadder, .quit)])
        #expect(lifecycle.handle(.guest(.ended(reason: "x"))).last == .finish(.stopped, endedBy: .askAgain))
    }

    @Test func aForcedStopQuitsAtOnceAlsoWhenOneIsUnderWay() {
        var fresh = machine(Self.toRunning)
        #expect(fresh.handle(.stopRequested(force: true)).contains(.perform(.quit)))
        var underWay = machine(Self.toRunning + [.stopRequested(force: false)])
        #expect(underWay.handle(.stopRequested(force: true)) == [.perform(.quit), .startTimer(.stopLadder, .quit)])
        #expect(underWay.handle(.stopRequested(force: true)) == [], "once is enough")
    }

    /// A guest that a person stopped is not restarted, even if it had failed or powered itself off a moment before.
    @Test(arguments: [
        toBooting + [.startFailed(.failed, reason: "r")], toConfirming + [.deadlinePassed(evidence: "")],
        toRunning + [.guest(.panicked)], toRunning + [.guest(.poweredOff)], toRunning + [.heartbeat(.lost)],
    ])
    func aStopDuringACleanUpCounts(_ inputs: [Input]) {
        for force in [false, true] {
            var lifecycle = machine(inputs)
            #expect(lifecycle.phase == .stopping)
            _ = lifecycle.handle(.stopRequested(force: force))
            let end = lifecycle.handle(.guest(.ended(reason: "x"))).last
            guard case .finish(.stopped, endedBy: _)? = end else {
                Issue.record("\(String(describing: end))")
                continue
            }
            #expect(lifecycle.phase == .stopped)
        }
    }

    @Test func aStopDuringALaunchThatTookTooLongCounts() {
        var lifecycle = machine(Self.toLaunching + [.deadlinePassed(evidence: "")])
        #expect(lifecycle.handle(.stopRequested(force: false)) == [])
        #expect(lifecycle.handle(.startCancelled).last == .finish(.stopped, endedBy: nil))
    }

    @Test func aGuestThatBootsWhileItIsStoppedIsAskedAgain() {
        var lifecycle = machine(Self.toBooting + [.stopRequested(force: false)])
        #expect(lifecycle.handle(.guestIsProvisioning) == [.perform(.askAgain)])
        #expect(lifecycle.handle(.guestIsReady) == [])
    }

    // MARK: Events in the guest

    @Test func aGuestThatPowersItselfOffIsASuccess() {
        var lifecycle = machine(Self.toRunning)
        #expect(lifecycle.handle(.guest(.poweredOff)).contains(.perform(.quit)))
        #expect(lifecycle.handle(.guest(.ended(reason: "x"))).last == .finish(.poweredOff, endedBy: nil))
        #expect(lifecycle.phase == .stopped)
    }

    @Test func aRebootLeadsToBootingAndBackToRunning() {
        var lifecycle = machine(Self.toRunning)
        let actions = lifecycle.handle(.guest(.rebooted))
        #expect(actions.contains(.enter(.booting)) && actions.contains(.cancelStart) && actions.contains(.awaitGuest))
        for input in Self.toRunning.dropFirst(Self.toBooting.count) { _ = lifecycle.handle(input) }
        #expect(lifecycle.phase == .running)
    }

    @Test func aRebootWhileStoppingIsNoWayOut() {
        var lifecycle = machine(Self.toRunning + [.stopRequested(force: false)])
        #expect(lifecycle.handle(.guest(.rebooted)) == [])
        #expect(lifecycle.phase == .stopping)
    }

    @Test(arguments: [GuestEvent.panicked, .machineStopped(reason: "internal error")])
    func aLostMachineIsEndedAndFailed(_ event: GuestEvent) {
        var lifecycle = machine(Self.toRunning)
        #expect(lifecycle.handle(.guest(event)).contains(.perform(.quit)))
        _ = lifecycle.handle(.guest(.ended(reason: "x")))
        #expect(lifecycle.phase == .failed)
        var stopping = machine(Self.toRunning + [.stopRequested(force: false)])
        _ = stopping.handle(.guest(event))
        _ = stopping.handle(.guest(.ended(reason: "x")))
        #expect(stopping.phase == .stopped, "a panic on the way down was still asked for")
    }

    @Test(arguments: [toBooting, toProvisioning, toConfirming, toRunning])
    func aGuestWhoseAcceleratorFailedIsBootedAgain(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        let actions = lifecycle.handle(.guest(.acceleratorFailed(reason: "r")))
        #expect(actions.contains(.perform(.quit)) && actions.contains(.cancelStart))
        #expect(!actions.contains(.announceStopping), "the manager is not told of a stop")
        #expect(lifecycle.phase == .preparing)
        for late in [GuestEvent.poweredOff, .rebooted, .panicked, .acceleratorFailed(reason: "r")] {
            #expect(lifecycle.handle(.guest(late)) == [])
        }
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.kill), .startTimer(.stopLadder, .kill)])
        #expect(lifecycle.handle(.guest(.ended(reason: "x"))).last == .prepare)
        for input in Self.toRunning.dropFirst() { _ = lifecycle.handle(input) }
        #expect(lifecycle.phase == .running)
    }

    @Test func aStopEndsAReplacement() {
        var lifecycle = machine(Self.toRunning + [.guest(.acceleratorFailed(reason: "r"))])
        #expect(lifecycle.handle(.stopRequested(force: false)) == [.enter(.stopping), .announceStopping])
        #expect(lifecycle.handle(.guest(.ended(reason: "x"))).last == .finish(.stopped, endedBy: .quit))
        var stopping = machine(Self.toRunning + [.stopRequested(force: false)])
        _ = stopping.handle(.guest(.acceleratorFailed(reason: "r")))
        #expect(stopping.handle(.guest(.ended(reason: "x"))).last == .finish(.stopped, endedBy: .quit))
    }

    @Test func aKilledGuestIsLost() {
        var running = machine(Self.toRunning)
        let actions = running.handle(.guest(.ended(reason: "was killed by signal 9")))
        guard case .finish(.guestLost(let reason), endedBy: nil)? = actions.last else {
            Issue.record("\(actions)")
            return
        }
        #expect(reason.contains("signal 9"))
        var booting = machine(Self.toBooting)
        _ = booting.handle(.guest(.ended(reason: "x")))
        #expect(booting.phase == .failed)
    }

    // MARK: Hung machines

    @Test func silenceDegradesAndAnAnswerRecovers() {
        var lifecycle = machine(Self.toRunning)
        #expect(lifecycle.handle(.heartbeat(.late)) == [.enter(.degraded)])
        #expect(lifecycle.handle(.heartbeat(.late)) == [])
        #expect(
            lifecycle.handle(.heartbeat(.answered)) == [
                .emit(.guestResponsive), .enter(.running), .setGuestClock, .repairPorts,
            ])
        #expect(lifecycle.handle(.heartbeat(.answered)) == [])
    }

    @Test func aGuestThatWaitsForItsDiskIsKept() {
        for input in [Input.guest(.stalled(reason: "r")), .heartbeat(.stalled(reason: "r"))] {
            var lifecycle = machine(Self.toRunning)
            #expect(lifecycle.handle(input) == [.emit(.failure("r")), .enter(.degraded), .hastenHeartbeat])
            #expect(lifecycle.handle(input) == [], "said once")
            #expect(lifecycle.handle(.guest(.resumed)) == [], "it may stop again at once")
            #expect(
                lifecycle.handle(.heartbeat(.answered)) == [
                    .emit(.guestResponsive), .enter(.running), .setGuestClock, .repairPorts,
                ])
            var booting = machine(Self.toBooting)
            #expect(booting.handle(input) == [.emit(.warning("r")), .beginHeartbeat, .hastenHeartbeat])
            #expect(booting.handle(input) == [] && booting.phase == .booting)
            // An agent that attaches says why nobody can log in. A login ends that.
            var attached = machine([.start(survivor: true), .attached(.ready)])
            #expect(attached.handle(input).contains(.emit(.failure("r"))) && attached.phase == .degraded)
            #expect(attached.handle(.accessConfirmed).contains(.enter(.running)) && attached.phase == .running)
            var late = machine([.start(survivor: true), .attached(.ready), .deadlinePassed(evidence: "e")])
            #expect(late.phase == .degraded)
            #expect(late.handle(input) == [.emit(.failure("r")), .hastenHeartbeat])
            #expect(late.handle(input) == [], "said once")
        }
    }

    @Test func aDeadlineDoesNotCutShortAnAbortedLaunch() {
        var lifecycle = machine(Self.toLaunching + [.stopRequested(force: false)])
        #expect(lifecycle.handle(.deadlinePassed(evidence: "")) == [])
        #expect(lifecycle.handle(.launched).contains(.perform(.quit)))
    }

    @Test(arguments: [toRunning + [.heartbeat(.late)], toRunning + [.guest(.rebooted)]])
    func aMinuteOfSilenceIsTheEnd(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        #expect(lifecycle.handle(.heartbeat(.lost)).contains(.perform(.kill)))
        _ = lifecycle.handle(.guest(.ended(reason: "was killed by signal 9")))
        #expect(lifecycle.phase == .failed)
    }

    /// Whatever inputs come in whatever order, an ended machine stays ended and requests nothing.
    @Test func nothingComesAfterTheEnd() {
        var random = SystemRandomNumberGenerator()
        let inputs: [Input] = [
            .start(survivor: false), .start(survivor: true), .attached(.ready), .prepared, .launched,
            .startFailed(.failed, reason: "r"), .guestIsProvisioning, .guestIsReady,
            .provisioningFailed(reason: "r"), .accessConfirmed, .guest(.poweredOff), .guest(.rebooted),
            .guest(.panicked), .guest(.machineStopped(reason: "r")), .guest(.ended(reason: "r")),
            .guest(.acceleratorFailed(reason: "r")),
            .stopRequested(force: false), .stopRequested(force: true), .startCancelled,
            .deadlinePassed(evidence: ""), .ladderTimePassed, .heartbeat(.answered), .heartbeat(.late),
            .heartbeat(.lost), .heartbeat(.stalled(reason: "r")), .guest(.stalled(reason: "r")),
            .partFailed("/m", reason: "r"), .partWorks("/m"), .guest(.networkLost(reason: "r")),
            .guest(.networkRestored),
        ]
        for _ in 0..<2000 {
            var lifecycle = Lifecycle()
            var finishes = 0
            for _ in 0..<40 {
                guard let input = inputs.randomElement(using: &random) else { continue }
                for action in lifecycle.handle(input) {
                    if case .finish = action { finishes += 1 }
                }
            }
            #expect(finishes <= 1)
            if case .ended = lifecycle.state { #expect(finishes == 1) }
        }
    }
}
