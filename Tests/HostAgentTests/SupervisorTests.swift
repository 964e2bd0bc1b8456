import GuestAccess
import GuestDriver
import HostAgent
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import ServiceManagers
import Synchronization
import Testing

/// The supervisor with a driver that does what a test tells it: interleavings of stops, failures and events, without a
/// guest and in milliseconds.
@Suite(.timeLimit(.minutes(1))) struct SupervisorTests {
    /// One supervisor with fakes around it.
    private struct Stage: ~Copyable {
        let scratch: Scratch
        let story: Story
        let driver: FakeDriver
        let access: FakeAccess
        let channel: FakeChannel
        let log: EventLog
        let supervisor: Supervisor
        /// - Parameter timers: what a timer does: it waits for ever, or it fires at once.
        init(
            obeys: StopStep? = .ask, survives: Bool = false, grace: Int = 60,
            timers: @escaping @Sendable (Duration) async throws -> Void = { _ in
                try await Task.sleep(for: .seconds(3600))
            }
        ) throws {
            let scratch = try Scratch()
            let story = Story()
            let driver = FakeDriver(obeys: obeys, survives: survives, story)
            let channel = FakeChannel(story)
            let access = FakeAccess(channel: channel, story)
            let directory = InstanceDirectory(name: try InstanceName("vm"), path: scratch.path + "/vm")
            try Files.makeDirectory(directory.path)
            try TextFile.replace(directory.limaYAML, with: "{}")
            guard let lock = try FileLock.acquire(path: directory.agentLock) else { throw HostError(.held, "lock") }
            let log = try EventLog(path: directory.eventLog, sink: nil)
            let survivor = try driver.survivor().map { Survivor($0, in: directory) }
            supervisor = Supervisor(
                .init(
                    driver: driver, access: access,
                    delay: RestartDelay(directory: directory, isKeptAlive: false),
                    claim: InstanceClaim(lock, of: directory),
                    survivor: survivor, log: log,
                    notifier: Notifier { message in
                        if message.hasPrefix("READY") { story.add("ready") }
                        if message.hasPrefix("STOPPING") { story.add("stopping") }
                    },
                    deadlines: Deadlines(grace: grace, start: nil), forwards: ForwardPlan(), sleep: timers))
            self.scratch = scratch
            (self.story, self.driver, self.access, self.channel, self.log) = (story, driver, access, channel, log)
        }

        func untilPhase(_ phase: Phase) async -> Bool {
            await eventually(within: 20) { log.snapshot.phase == phase }
        }

        func until(_ line: String) async -> Bool { await eventually(within: 20) { story.all.contains(line) } }
    }

    @Test func theWholeLife() async throws {
        let stage = try Stage()
        async let outcome = stage.supervisor.run()
        #expect(await stage.untilPhase(.booting))
        stage.channel.says.yield(.provisioning)
        stage.channel.says.yield(.ready)
        #expect(await stage.untilPhase(.running))
        stage.supervisor.requestStop(by: "test", force: false)
        #expect(await outcome == .stopped)
        #expect(
            stage.story.all.filter { $0 != "greeting" } == [
                "prepare", "launch", "confirm", "ready", "stopping", "channel: poweroff", "ask", "quit", "forget",
                "channel: close",
            ])
    }

    /// Connections end before the guest returns to another state. A failed change is an error and an event.
    @Test func snapshots() async throws {
        let stage = try Stage()
        async let outcome = stage.supervisor.run()
        #expect(await stage.untilPhase(.booting))
        let taken = SnapshotChange(.create, try SnapshotTag("one"))
        await #expect(throws: HostError.self) { try await stage.supervisor.change(taken) }
        stage.channel.says.yield(.ready)
        #expect(await stage.untilPhase(.running))
        try await stage.supervisor.change(taken)
        await #expect(throws: HostError.self) { try await stage.supervisor.change(taken) }
        try await stage.supervisor.change(SnapshotChange(.apply, taken.tag))
        try await stage.supervisor.change(SnapshotChange(.delete, taken.tag))
        stage.supervisor.requestStop(by: "test", force: true)
        #expect(await outcome == .stopped)
        let story = stage.story.all.filter { $0.contains("one") || $0 == "other state" }
        #expect(story == ["create one", "other state", "apply one", "delete one"])
        await #expect(throws: HostError.self) { try await stage.supervisor.change(taken) }
    }

    @Test func aStopWhilePreparing() async throws {
        let stage = try Stage()
        stage.driver.preparing.close()
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("prepare"))
        stage.supervisor.requestStop(by: "test", force: false)
        #expect(await outcome == .stopped)
        #expect(!stage.story.all.contains("launch"))
    }

    /// The launch is told to stop, and it runs to its end.
    @Test func aStopWhileLaunching() async throws {
        let stage = try Stage()
        stage.driver.launching.close()
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("launch"))
        stage.supervisor.requestStop(by: "test", force: false)
        stage.supervisor.requestStop(by: "test", force: true)
        #expect(await outcome == .stopped)
        #expect(stage.driver.guest == nil)
    }

    /// A guest that appears in spite of the stop is ended and not left behind.
    @Test func aGuestThatComesAfterItsStop() async throws {
        let stage = try Stage()
        stage.driver.preparing.close()
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("prepare"))
        stage.driver.preparing.open()
        #expect(await stage.untilPhase(.booting))
        stage.supervisor.requestStop(by: "test", force: true)
        #expect(await outcome == .stopped)
        #expect(stage.story.all.contains("quit") && !stage.story.all.contains("ask"))
    }

    @Test(arguments: [HostError.Code.unavailable, .badConfiguration, .failed])
    func aFailureOfEachStepOfAStart(_ code: HostError.Code) async throws {
        let error = HostError(code, "no such thing", hint: "get one")
        for step in ["prepare", "launch"] {
            let stage = try Stage()
            (step == "prepare" ? stage.driver.preparing : stage.driver.launching).fail(error)
            #expect(
                await stage.supervisor.run() == .startFailed(code: code, reason: "no such thing; get one"), "\(step)")
            #expect(stage.log.snapshot.phase == .failed)
        }
        let stage = try Stage()
        stage.access.probing.fail(error)
        stage.channel.says.yield(.ready)
        #expect(await stage.supervisor.run() == .startFailed(code: code, reason: "no such thing; get one"))
        #expect(stage.story.all.contains("ask"), "the guest is shut down by asking")
        #expect(!stage.story.all.contains("ready"))
    }

    /// A stop request also counts while a failed start is being cleaned up. The outcome is a stop, so no manager
    /// restarts the guest.
    @Test func aStopWhileAFailedStartIsCleanedUp() async throws {
        let stage = try Stage(obeys: nil)
        stage.access.probing.fail(HostError(.failed, "x"))
        stage.channel.says.yield(.ready)
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("ask"))
        stage.supervisor.requestStop(by: "test", force: false)
        stage.driver.guest?.end()
        #expect(await outcome == .stopped)
        #expect(await outcome.exitStatus(keepAlive: .always, manager: .systemd) == .stoppedOnRequest)
    }

    @Test func theLadderWhenNothingIsObeyed() async throws {
        let stage = try Stage(obeys: nil) { duration in
            // The ladder's timers fire at once; the deadlines of phases do not.
            if duration > .seconds(60) { try await Task.sleep(for: .seconds(3600)) }
        }
        stage.channel.says.yield(.ready)
        async let outcome = stage.supervisor.run()
        #expect(await stage.untilPhase(.running))
        stage.supervisor.requestStop(by: "test", force: false)
        #expect(await outcome == .stopped)
        let steps = stage.story.all.filter { ["ask", "quit", "kill"].contains($0) }
        #expect(steps.last == "kill" && steps.first == "ask" && steps.contains("quit"))
    }

    @Test func twoEventsAtOnce() async throws {
        let stage = try Stage()
        stage.channel.says.yield(.ready)
        async let outcome = stage.supervisor.run()
        #expect(await stage.untilPhase(.running))
        stage.driver.guest?.says.yield(.rebooted)
        stage.driver.guest?.says.yield(.poweredOff)
        #expect(await outcome == .poweredOff)
        #expect(stage.story.all.filter { $0 == "forget" }.count == 1)
    }

    /// A machine that crashes while its guest boots is launched once more. The second crash ends the run.
    @Test func aMachineThatCrashesTwice() async throws {
        let stage = try Stage()
        async let outcome = stage.supervisor.run()
        #expect(await stage.untilPhase(.booting))
        let first = stage.driver.guest
        first?.end("crashed", crashed: true)
        #expect(await eventually(within: 20) { stage.driver.guest !== first && stage.log.snapshot.phase == .booting })
        stage.driver.guest?.end("crashed", crashed: true)
        guard case .startFailed(code: .failed, reason: _) = await outcome else {
            Issue.record("\(await outcome)")
            return
        }
        #expect(stage.story.all.filter { $0 == "launch" }.count == 2)
    }

    /// Late results from the work for one machine do not count for the machine that replaced it.
    @Test func aLoginToAMachineThatWasReplaced() async throws {
        let stage = try Stage()
        stage.access.confirming.close()
        stage.channel.says.yield(.ready)
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("confirm"))
        stage.driver.guest?.says.yield(.acceleratorFailed(reason: "no good"))
        #expect(await eventually(within: 20) { stage.story.all.filter { $0 == "launch" }.count == 2 })
        stage.access.confirming.open()
        #expect(await stage.untilPhase(.booting))
        #expect(!stage.story.all.contains("ready"))
        stage.supervisor.requestStop(by: "test", force: true)
        #expect(await outcome == .stopped)
    }

    // MARK: Guests that outlived their agent

    @Test func aSurvivorIsAttachedToAndConfirmed() async throws {
        let stage = try Stage(survives: true)
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("greeting"), "no log tells whether it had been ready")
        #expect(await stage.until("ready"))
        #expect(!stage.story.all.contains("launch"))
        stage.supervisor.requestStop(by: "test", force: false)
        #expect(await outcome == .stopped)
    }

    @Test func aStopWhileAttachingWaitsForTheGuest() async throws {
        let stage = try Stage(survives: true)
        stage.driver.attaching.close()
        async let outcome = stage.supervisor.run()
        #expect(await stage.until("attach"))
        stage.supervisor.requestStop(by: "test", force: false)
        stage.driver.attaching.open()
        #expect(await outcome == .stopped)
        #expect(stage.story.all.contains("ask") && !stage.story.all.contains("confirm"))
    }

    @Test(arguments: [HostError.Code.failed, .held])
    func aSurvivorThatCannotBeAttachedTo(_ code: HostError.Code) async throws {
        let stage = try Stage(survives: true)
        stage.driver.attaching.fail(HostError(code, "silent"))
        guard case .startFailed(code: code, reason: _) = await stage.supervisor.run() else {
            Issue.record("it was to fail")
            return
        }
        // A silent survivor is killed. A socket that does not belong to the guest does not lead to a kill.
        #expect(stage.story.all.contains("kill survivor") == (code == .failed))
        #expect(!stage.story.all.contains("forget"), "it is alive, and has to be found again")
    }

    // MARK: Reloads

    private final class Number: Sendable {
        let value: Mutex<Int>
        init(_ value: Int) { self.value = Mutex(value) }
    }

    /// After two requests the newer configuration is in force, whichever request is handled first.
    @Test func theNewerConfigurationWins() async throws {
        let stage = try Stage()
        stage.channel.says.yield(.ready)
        async let outcome = stage.supervisor.run()
        #expect(await stage.untilPhase(.running))
        let (current, latest, supervisor) = (Number(1000), Number(0), stage.supervisor)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    current.value.withLock { $0 += 1 }
                    _ = await supervisor.apply {
                        let port = current.value.withLock { $0 }
                        latest.value.withLock { $0 = port }
                        var plan = ForwardPlan()
                        plan.ports = [PortForward(.udp, hostAddress: "127.0.0.1", hostPort: port, guestPort: 80)]
                        return .init(grace: 60, forwards: plan)
                    }
                }
            }
        }
        #expect(latest.value.withLock { $0 } == 1020)
        #expect(stage.story.all.last { $0.hasPrefix("open") } == "open 1020")
        stage.supervisor.requestStop(by: "test", force: false)
        #expect(await outcome == .stopped)
    }
}

/// Guests that no agent supervises are ended by the same ladder.
@Suite(.timeLimit(.minutes(1))) struct OrphanStopTests {
    private func stop(_ driver: FakeDriver, grace: Int = 0, force: Bool = false) async throws {
        let survivor = try #require(try driver.survivor())
        let stop = OrphanStop(finder: driver, survivor: survivor, times: StopTimes(grace: grace)) { [driver] in
            driver.story.add("channel")
        }
        try await stop.run(force: force)
    }

    /// The fake's process is the test's own process, which does not end. The test checks the ladder only.
    @Test(arguments: [(StopStep.ask, false), (.quit, false), (.quit, true)])
    func theLadder(_ obeys: StopStep, _ force: Bool) async throws {
        let driver = FakeDriver(obeys: obeys, survives: true, Story())
        await #expect(throws: HostError.self) { try await stop(driver, grace: 2, force: force) }
        let story = driver.story.all
        #expect(story.contains("ask") == !force && story.contains("channel") == !force)
        #expect(story.contains("quit") && !story.contains("kill"))
    }

    @Test func aSilentOneIsKilledOnlyByForce() async throws {
        let driver = FakeDriver(survives: true, Story())
        driver.attaching.fail(HostError(.failed, "silent"))
        let error = await #expect(throws: HostError.self) { try await stop(driver) }
        #expect(error?.hint?.contains("--force") == true && driver.story.all == ["attach"])
        try await stop(driver, force: true)
        #expect(driver.story.all == ["attach", "attach", "kill survivor", "forget"])
    }
}
