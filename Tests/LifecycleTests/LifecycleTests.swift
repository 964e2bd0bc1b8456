import GuestDriver
import HostModel
import Testing

/// Every transition of the state machine.
@Suite struct LifecycleTests {
    typealias Action = Lifecycle.Action
    typealias Input = Lifecycle.Input

    /// A machine that was fed these inputs.
    private func machine(_ inputs: [Input]) -> Lifecycle {
        var lifecycle = Lifecycle()
        for input in inputs { _ = lifecycle.handle(input) }
        return lifecycle
    }

    private static let toLaunching: [Input] = [.start(survivor: false), .prepared]
    private static let toBooting: [Input] = toLaunching + [.launched]
    private static let toProvisioning: [Input] = toBooting + [.guestIsProvisioning]
    private static let toConfirming: [Input] = toProvisioning + [.guestIsReady]
    private static let toRunning: [Input] = toConfirming + [.accessConfirmed]

    @Test func theWayUp() {
        var lifecycle = Lifecycle()
        #expect(
            lifecycle.handle(.start(survivor: false)) == [
                .enter(.preparing), .startTimer(.phaseDeadline, .deadline(.preparing)), .prepare,
            ])
        #expect(lifecycle.handle(.prepared) == [.launch])
        #expect(
            lifecycle.handle(.launched) == [
                .enter(.booting), .startTimer(.phaseDeadline, .deadline(.booting)), .forwardPorts,
                .awaitGuest,
            ])
        #expect(
            lifecycle.handle(.guestIsProvisioning) == [
                .enter(.provisioning), .startTimer(.phaseDeadline, .deadline(.provisioning)),
            ])
        #expect(lifecycle.handle(.guestIsReady) == [.emit(.guestReady), .confirmAccess])
        #expect(
            lifecycle.handle(.accessConfirmed) == [
                .stopTimer(.phaseDeadline), .enter(.running), .announceReady, .beginHeartbeat,
            ])
        #expect(lifecycle.phase == .running)
    }

    @Test func aGuestWithoutStagesGoesStraightToConfirming() {
        var lifecycle = machine(Self.toBooting)
        #expect(lifecycle.handle(.guestIsReady).contains(.confirmAccess))
        #expect(lifecycle.phase == .provisioning)
    }

    @Test func readyIsSaidOnlyAfterALogin() {
        for inputs in [Self.toLaunching, Self.toBooting, Self.toProvisioning, Self.toConfirming] {
            var lifecycle = Lifecycle()
            #expect(!inputs.flatMap { lifecycle.handle($0) }.contains(.announceReady))
        }
    }

    @Test func aFailedProvisioningScriptLeavesAUsableButDegradedGuest() {
        var lifecycle = machine(Self.toProvisioning + [.provisioningFailed(reason: "r"), .guestIsReady])
        let actions = lifecycle.handle(.accessConfirmed)
        #expect(actions.contains(.enter(.degraded)) && actions.contains(.announceReady))
        #expect(lifecycle.state == .degraded(reason: "r"))
        #expect(
            lifecycle.handle(.heartbeat(.answered)) == [.setGuestClock], "an answer of QEMU does not mend the script")
    }

    // MARK: Surviving guests

    @Test func aGuestThatWasReadyIsConfirmedAndRunning() {
        var lifecycle = Lifecycle()
        #expect(lifecycle.handle(.start(survivor: true)) == [.attach])
        #expect(lifecycle.phase == .attaching)
        #expect(
            lifecycle.handle(.attached(.ready)) == [
                .emit(.guestReady), .beginHeartbeat, .startTimer(.phaseDeadline, .deadline(.attaching)), .forwardPorts,
                .setGuestClock, .confirmSurvivor,
            ])
        #expect(lifecycle.phase == .attaching)
        #expect(lifecycle.handle(.accessConfirmed).contains(.announceReady))
    }

    /// A guest that had been ready is not ended because nobody can log in just now.
    @Test(arguments: [Input.deadlinePassed(evidence: ""), .startFailed(.failed, reason: "no ssh")])
    func aGuestThatLetsNobodyInIsKept(_ input: Input) {
        var lifecycle = machine([.start(survivor: true), .attached(.ready)])
        let actions = lifecycle.handle(input)
        #expect(actions.contains(.announceReady) && actions.contains(.enter(.degraded)))
        #expect(!actions.contains(.perform(.ask)) && lifecycle.phase == .degraded)
    }

    @Test func whatAScriptLeftWrongStaysWrong() {
        var lifecycle = machine([.start(survivor: true), .attached(.ready, fault: "a script"), .accessConfirmed])
        #expect(lifecycle.state == .degraded(reason: "a script"))
        #expect(lifecycle.handle(.heartbeat(.answered)) == [.setGuestClock])
    }

    @Test(arguments: [toLaunching, toConfirming, [.start(survivor: true), .attached(.ready)]])
    func noHandoverWhileALoginIsUnderWay(_ inputs: [Input]) { #expect(!machine(inputs).canBeHandedOver) }

    @Test func aGuestThatBootsIsAwaited() {
        var lifecycle = machine([.start(survivor: true)])
        #expect(lifecycle.handle(.attached(.booting)).contains(.awaitGuest))
        #expect(lifecycle.phase == .booting)
        var unknown = machine([.start(survivor: true)])
        #expect(unknown.handle(.attached(.unknown)).contains(.awaitGreeting))
        #expect(unknown.handle(.guestIsReady).contains(.confirmAccess))
    }

    @Test func whatHappenedMeanwhileIsLearned() {
        var off = machine([.start(survivor: true), .attached(.ready), .guest(.poweredOff)])
        #expect(off.handle(.guest(.ended(reason: "x"))).last == .finish(.poweredOff, endedBy: nil))
        var panicked = machine([.start(survivor: true), .attached(.ready), .guest(.panicked)])
        _ = panicked.handle(.guest(.ended(reason: "x")))
        #expect(panicked.phase == .failed)
    }

    @Test func aStopWhileAttachingWaitsAndIsPolite() {
        var lifecycle = machine([.start(survivor: true)])
        #expect(lifecycle.handle(.stopRequested(force: false)) == [.announceStopping])
        #expect(lifecycle.handle(.startCancelled) == [])
        #expect(lifecycle.handle(.attached(.ready)).contains(.perform(.ask)))
        var gone = machine([.start(survivor: true), .stopRequested(force: false)])
        #expect(gone.handle(.startFailed(.failed, reason: "x")).last == .finish(.stopped, endedBy: nil))
    }

    // MARK: Crashes

    @Test(arguments: [toBooting, toProvisioning])
    func aMachineThatCrashesWhileItBootsIsForgivenOnce(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        let crash = Input.guest(.ended(reason: "crashed", crashed: true))
        let actions = lifecycle.handle(crash)
        #expect(actions.last == .prepare && actions.contains(.cancelStart) && lifecycle.phase == .preparing)
        for input in [.prepared, .launched, .guestIsProvisioning] as [Input] { _ = lifecycle.handle(input) }
        _ = lifecycle.handle(crash)
        #expect(lifecycle.phase == .failed)
    }

    @Test(arguments: [toRunning, toConfirming])
    func aMachineThatServedIsNot(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        _ = lifecycle.handle(.guest(.ended(reason: "crashed", crashed: true)))
        #expect(lifecycle.phase == .failed)
    }

    // MARK: Time

    @Test(arguments: [toBooting, toProvisioning, toConfirming, toRunning])
    func aGuestIsToldTheTimeAfterAJumpAndAfterItStoodStill(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        #expect(lifecycle.handle(.hostClockChanged) == [.setGuestClock, .forwardPorts])
        #expect(lifecycle.handle(.guest(.resumed)) == [.setGuestClock])
    }

    @Test(arguments: [[], toLaunching, [.start(survivor: true)], toRunning + [.stopRequested(force: false)]])
    func nobodyIsToldWhoIsNotThere(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        #expect(lifecycle.handle(.hostClockChanged) == [])
        #expect(lifecycle.handle(.guest(.resumed)) == [])
        #expect(!lifecycle.canBeHandedOver)
    }

    // MARK: Deadlines and failed starts

    @Test(arguments: [toBooting, toProvisioning, toConfirming])
    func aDeadlineWithAGuestStopsItInOrder(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        let actions = lifecycle.handle(.deadlinePassed(evidence: "; said so"))
        #expect(actions.contains(.perform(.ask)) && actions.contains(.cancelStart))
        guard case .stopping(let stop) = lifecycle.state, case .startFailed(.failed, let reason) = stop.outcome else {
            Issue.record("\(lifecycle.state)")
            return
        }
        #expect(reason.hasSuffix("; said so"))
    }

    @Test func aDeadlineWithoutAGuestEndsAtOnce() {
        var lifecycle = machine([.start(survivor: false)])
        let actions = lifecycle.handle(.deadlinePassed(evidence: ""))
        #expect(actions.contains(.cancelStart))
        #expect(lifecycle.phase == .failed)
    }

    @Test(arguments: [
        toRunning, toRunning + [.stopRequested(force: false)], [],
        [.start(survivor: false), .stopRequested(force: false)],
    ])
    func aDeadlineThatFiresTooLateChangesNothing(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        let before = lifecycle.state
        #expect(lifecycle.handle(.deadlinePassed(evidence: "")) == [])
        #expect(lifecycle.state == before)
    }

    @Test func aFailedPreparationEndsWithItsCode() {
        var lifecycle = machine([.start(survivor: false)])
        let outcome = Outcome.startFailed(code: .unavailable, reason: "no qemu")
        let actions = lifecycle.handle(.startFailed(.unavailable, reason: "no qemu"))
        #expect(actions.last == .finish(outcome, endedBy: nil))
        #expect(lifecycle.state == .ended(outcome))
    }

    // MARK: Launching must come to its end

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

    @Test func aGuestThatBootsWhileItIsStoppedIsAskedAgain() {
        var lifecycle = machine(Self.toBooting + [.stopRequested(force: false)])
        #expect(lifecycle.handle(.guestIsProvisioning) == [.perform(.askAgain)])
        #expect(lifecycle.handle(.guestIsReady) == [])
    }

    // MARK: What the guest does

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

    @Test func silenceDegradesAnAnswerMends() {
        var lifecycle = machine(Self.toRunning)
        #expect(lifecycle.handle(.heartbeat(.late)) == [.enter(.degraded)])
        #expect(lifecycle.handle(.heartbeat(.late)) == [])
        #expect(lifecycle.handle(.heartbeat(.answered)) == [.emit(.guestResponsive), .enter(.running), .setGuestClock])
        #expect(lifecycle.handle(.heartbeat(.answered)) == [])
    }

    @Test func aGuestThatWaitsForItsDiskIsKept() {
        for input in [Input.guest(.stalled(reason: "r")), .heartbeat(.stalled(reason: "r"))] {
            var lifecycle = machine(Self.toRunning)
            #expect(lifecycle.handle(input) == [.emit(.failure("r")), .enter(.degraded), .hastenHeartbeat])
            #expect(lifecycle.handle(input) == [], "said once")
            #expect(lifecycle.handle(.guest(.resumed)) == [], "it may stop again at once")
            #expect(
                lifecycle.handle(.heartbeat(.answered)) == [.emit(.guestResponsive), .enter(.running), .setGuestClock])
            var booting = machine(Self.toBooting)
            #expect(booting.handle(input) == [.emit(.warning("r")), .beginHeartbeat, .hastenHeartbeat])
            #expect(booting.handle(input) == [] && booting.phase == .booting)
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

    /// Whatever comes in whatever order: an ended machine stays ended and asks for nothing.
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
