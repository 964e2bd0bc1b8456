import GuestDriver
import HostModel
import Testing

/// The state machine's transitions on the way up, and while the guest can be used.
@Suite struct LifecycleTests: LifecycleSuite {
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
            lifecycle.handle(.heartbeat(.answered)) == [.setGuestClock, .repairPorts],
            "an answer of QEMU does not undo the failure of the script")
    }

    // MARK: Mounts

    @Test func aGuestWithoutADirectoryIsDegradedUntilItHasIt() {
        var lifecycle = machine(Self.toProvisioning)
        #expect(lifecycle.handle(.partFailed("/b", reason: "no b")) == [])
        #expect(lifecycle.handle(.partFailed("/a", reason: "no a")) == [])
        #expect(lifecycle.handle(.guestIsReady) == [.emit(.guestReady), .confirmAccess])
        #expect(
            lifecycle.handle(.accessConfirmed) == [
                .stopTimer(.phaseDeadline), .emit(.failure("no a")), .emit(.failure("no b")), .enter(.degraded),
                .announceReady, .beginHeartbeat,
            ])
        #expect(lifecycle.state == .degraded(reason: "no a"))
        #expect(lifecycle.handle(.partWorks("/other")) == [])
        #expect(lifecycle.handle(.partWorks("/a")) == [])
        #expect(lifecycle.state == .degraded(reason: "no b"))
        #expect(lifecycle.handle(.partWorks("/b")) == [.enter(.running)])
        #expect(lifecycle.phase == .running)
    }

    @Test func aDirectoryThatIsLostDegradesAGuestThatRuns() {
        var lifecycle = machine(Self.toRunning)
        let lost = Input.partFailed("/a", reason: "lost")
        #expect(lifecycle.handle(lost) == [.emit(.failure("lost")), .enter(.degraded)])
        #expect(lifecycle.handle(lost) == [], "it is said once")
        #expect(lifecycle.handle(.partFailed("/a", reason: "gone")) == [.emit(.failure("gone"))])
        #expect(lifecycle.handle(.heartbeat(.answered)) == [.setGuestClock, .repairPorts])
        #expect(lifecycle.state == .degraded(reason: "gone"))
        #expect(lifecycle.handle(.partWorks("/a")) == [.enter(.running)])
    }

    @Test func theNetworkOfAGuestThatBootsAgainIsStillMissing() {
        var lifecycle = machine(
            Self.toRunning + [
                .guest(.networkLost(reason: "no network")), .partFailed("/a", reason: "no a"), .guest(.rebooted),
                .guestIsReady,
            ])
        #expect(lifecycle.handle(.accessConfirmed).contains(.enter(.degraded)))
        #expect(lifecycle.state == .degraded(reason: "no network"))
        #expect(lifecycle.handle(.guest(.networkRestored)) == [.enter(.running), .repairPorts])

        // Another machine has another network, and what the one before says does not count.
        var replaced = machine(
            Self.toProvisioning + [
                .guest(.networkLost(reason: "no network")), .guest(.acceleratorFailed(reason: "r")),
                .guest(.networkLost(reason: "late")), .guest(.ended(reason: "r")), .prepared, .launched, .guestIsReady,
            ])
        #expect(replaced.handle(.accessConfirmed).contains(.enter(.running)))
    }

    @Test func aDirectoryDoesNotPutAnythingElseRight() {
        let lifecycle = machine(
            Self.toProvisioning + [
                .provisioningFailed(reason: "a script"), .partFailed("/a", reason: "no a"),
                .guestIsReady, .accessConfirmed, .partWorks("/a"),
            ])
        #expect(lifecycle.state == .degraded(reason: "a script"))
        var silent = machine(
            Self.toRunning + [
                .heartbeat(.late), .partFailed("/a", reason: "no a"), .partWorks("/a"),
            ])
        #expect(silent.phase == .degraded)
        #expect(silent.handle(.heartbeat(.answered)).contains(.enter(.running)))
        var rebooted = machine(
            Self.toRunning + [.partFailed("/a", reason: "no a"), .guest(.rebooted), .guestIsReady])
        #expect(rebooted.handle(.accessConfirmed).contains(.enter(.running)), "the new boot tells anew")
    }

    // MARK: Surviving guests

    @Test func aGuestThatWasReadyIsConfirmedAndRunning() {
        var lifecycle = Lifecycle()
        #expect(lifecycle.handle(.start(survivor: true)) == [.attach])
        #expect(lifecycle.phase == .attaching)
        #expect(
            lifecycle.handle(.attached(.ready)) == [
                .emit(.guestReady), .beginHeartbeat, .startTimer(.phaseDeadline, .deadline(.attaching)), .repairPorts,
                .setGuestClock, .confirmSurvivor,
            ])
        #expect(lifecycle.phase == .attaching)
        #expect(lifecycle.handle(.accessConfirmed).contains(.announceReady))
    }

    /// A failed login does not end a guest that had been ready.
    @Test(arguments: [Input.deadlinePassed(evidence: ""), .startFailed(.failed, reason: "no ssh")])
    func aGuestThatLetsNobodyInIsKept(_ input: Input) {
        var lifecycle = machine([.start(survivor: true), .attached(.ready)])
        let actions = lifecycle.handle(input)
        #expect(actions.contains(.announceReady) && actions.contains(.enter(.degraded)))
        #expect(!actions.contains(.perform(.ask)) && lifecycle.phase == .degraded)
        #expect(!actions.contains(.cancelStart), "the login goes on being tried")
        #expect(lifecycle.handle(.heartbeat(.answered)) == [.setGuestClock, .repairPorts], "that is no login")
        #expect(lifecycle.handle(.accessConfirmed).first == .enter(.running))
        #expect(lifecycle.phase == .running && lifecycle.handle(.accessConfirmed) == [])
    }

    @Test func aLoginDoesNotPutAScriptRight() {
        var lifecycle = machine([
            .start(survivor: true), .attached(.ready, fault: "a script"), .deadlinePassed(evidence: ""),
        ])
        #expect(lifecycle.handle(.accessConfirmed) == [.setGuestClock, .repairPorts])
        #expect(lifecycle.phase == .degraded)
    }

    @Test func whatAScriptLeftWrongStaysWrong() {
        var lifecycle = machine([.start(survivor: true), .attached(.ready, fault: "a script"), .accessConfirmed])
        #expect(lifecycle.state == .degraded(reason: "a script"))
        #expect(lifecycle.handle(.heartbeat(.answered)) == [.setGuestClock, .repairPorts])
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

    private static let silent = Input.bootOverdue(.silent, evidence: "; e")

    @Test func aGuestThatHangsWhileItBootsIsBootedOnceMore() {
        var lifecycle = machine(Self.toBooting)
        let actions = lifecycle.handle(Self.silent)
        // The guest may be up and unable to report it, so it is asked first.
        #expect(actions.contains(.enter(.preparing)) && actions.contains(.cancelStart))
        #expect(actions.suffix(2) == [.perform(.ask), .startTimer(.stopLadder, .halfGrace)])
        #expect(lifecycle.handle(.guestIsProvisioning) == [.perform(.askAgain)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.askAgain), .startTimer(.stopLadder, .halfGrace)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.quit), .startTimer(.stopLadder, .quit)])
        #expect(lifecycle.handle(.ladderTimePassed) == [.perform(.kill), .startTimer(.stopLadder, .kill)])
        #expect(lifecycle.handle(.guest(.ended(reason: "exited"))).contains(.prepare))
        for input in [.prepared, .launched] as [Input] { _ = lifecycle.handle(input) }
        #expect(lifecycle.phase == .booting)
        #expect(lifecycle.handle(Self.silent).contains(.enter(.stopping)), "once")

        // A guest that was usable in between may hang again when it reboots.
        var rebooted = machine(Self.toBooting + [Self.silent])
        let again: [Input] = [.guest(.ended(reason: "exited"))] + Self.toRunning.dropFirst() + [.guest(.rebooted)]
        for input in again { _ = rebooted.handle(input) }
        #expect(rebooted.handle(Self.silent).contains(.enter(.preparing)))
    }

    @Test(arguments: [GuestEvent.poweredOff, .panicked, .machineStopped(reason: "internal error")])
    func aHungGuestThatObeysAfterAllIsQuit(_ event: GuestEvent) {
        var lifecycle = machine(Self.toBooting + [Self.silent])
        #expect(lifecycle.handle(.guest(event)) == [.perform(.quit), .startTimer(.stopLadder, .quit)])
        #expect(lifecycle.handle(.guest(event)) == [])
        #expect(lifecycle.handle(.guest(.ended(reason: "exited"))).contains(.prepare))
    }

    @Test func aStopOfAHungGuestGoesOnWhereItsReplacementWas() {
        var lifecycle = machine(Self.toBooting + [Self.silent])
        #expect(lifecycle.handle(.stopRequested(force: false)) == [.enter(.stopping), .announceStopping])
        #expect(lifecycle.handle(.ladderTimePassed).contains(.perform(.askAgain)))
        var forced = machine(Self.toBooting + [Self.silent])
        #expect(forced.handle(.stopRequested(force: true)).contains(.perform(.quit)))
        #expect(forced.handle(.guest(.ended(reason: "exited"))).contains(.finish(.stopped, endedBy: .quit)))
    }

    @Test func aGuestThatIsSlowToBootGetsMoreTimeOnce() {
        var lifecycle = machine(Self.toBooting)
        let busy = Input.bootOverdue(.busy, evidence: "; e")
        #expect(lifecycle.handle(busy) == [.startTimer(.phaseDeadline, .deadline(.booting))])
        #expect(lifecycle.handle(busy).contains(.emit(.failure("gave up: booting the guest took too long; e"))))
    }

    @Test func aGuestThatWaitsForItsDiskIsWaitedFor() {
        var lifecycle = machine(Self.toBooting)
        for _ in 1...3 {
            let actions = lifecycle.handle(.bootOverdue(.stalled, evidence: ""))
            #expect(actions == [.startTimer(.phaseDeadline, .deadline(.booting))])
        }
    }

    @Test(arguments: [toProvisioning, toRunning, toRunning + [.stopRequested(force: false)]])
    func aBootThatIsOverIsNotOverdue(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        #expect(lifecycle.handle(Self.silent) == [])
    }

    // MARK: Time

    @Test(arguments: [toBooting, toProvisioning, toConfirming, toRunning])
    func aGuestIsToldTheTimeAfterAJumpAndAfterItStoodStill(_ inputs: [Input]) {
        var lifecycle = machine(inputs)
        // While the guest boots, nothing in it can answer yet.
        let actions: [Action] = lifecycle.phase.isUsable ? [.setGuestClock, .repairPorts] : [.setGuestClock]
        #expect(lifecycle.handle(.hostClockChanged) == actions)
        #expect(lifecycle.handle(.guest(.resumed)) == actions)
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
}
