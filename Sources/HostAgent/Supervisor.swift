import GuestAccess
import GuestDriver
import HostModel
import HostOS
import ServiceManagers
import Synchronization

/// The only owner of the lifecycle. It takes requests, guest events and timers from one queue, passes them to the state
/// machine, and performs the resulting actions in order. Slow work runs in tasks, whose results come back through the
/// queue.
package actor Supervisor {
    let parts: Parts
    private let work: StartWork
    let bag = TaskBag()
    private let logBounds: LogBounds
    let clock: GuestClock
    let forwarding: PortForwarding
    let mounts: GuestMounts
    private let heartbeat: Heartbeat
    nonisolated let snapshots = GuestSnapshots()
    private var deadlines: Deadlines

    /// A stop was requested. An upgrade must not lose the request.
    private nonisolated let isToStop = Atomic(false)
    private nonisolated let queue: AsyncStream<Message>
    nonisolated let enqueue: AsyncStream<Message>.Continuation

    private var lifecycle = Lifecycle()
    private(set) var live: LiveGuest?
    /// The active timers. A timer that fires with another generation was replaced or stopped.
    private var timers: [Lifecycle.Timer: Int] = [:]
    private var generation = 0
    private var stopBegan: Double?
    private var wasReady = false
    /// The provisioning scripts that were reported as failed in the current boot.
    private var failedScripts: Set<String> = []
    /// Counts the attempts to start a guest. Failures of an earlier attempt are ignored.
    private var attempt = 0
    private var startTasks: [Task<Void, Never>] = []
    private var outcome: Outcome?
    /// The guest has ended, and its records in the directory are this instance's.
    private var forgetsMounts = false

    nonisolated var log: EventLog { parts.log }

    package init(_ parts: Parts) {
        self.parts = parts
        work = StartWork(
            driver: parts.driver, access: parts.access, delay: parts.delay, survivor: parts.survivor, log: parts.log)
        deadlines = parts.deadlines
        let (queue, enqueue) = AsyncStream.makeStream(of: Message.self)
        (self.queue, self.enqueue) = (queue, enqueue)
        logBounds = LogBounds(parts.guestLogs, in: bag)
        let clock = GuestClock(log: parts.log)
        self.clock = clock
        forwarding = PortForwarding(parts.forwards, over: parts.access.connections, log: parts.log, in: bag)
        mounts = GuestMounts(parts.mounts, log: parts.log, in: bag) { enqueue.yield(.input($0)) }
        heartbeat = Heartbeat(notifier: parts.notifier, in: bag) {
            clock.check()
            if parts.claim.renew() == .gone { enqueue.yield(.claimLost) }
        } report: { [log = parts.log] beat, silence, process in
            if beat == .late { log.emit(.guestUnresponsive(seconds: silence)) }
            enqueue.yield(.heartbeat(beat, of: process))
        }
    }

    private nonisolated var services: [any GuestService] {
        [logBounds, clock, forwarding, mounts, heartbeat, snapshots]
    }

    // MARK: Requests

    /// Requests a stop. May be called from any thread.
    package nonisolated func requestStop(by: String, force: Bool) {
        isToStop.store(true, ordering: .sequentiallyConsistent)
        log.emit(.stopRequested(by: by, force: force))
        guard !force, snapshots.isBusy else { return _ = enqueue.yield(.input(.stopRequested(force: force))) }
        stopAfterSnapshot()
    }

    /// Applies another configuration.
    /// - Parameter current: reads the configuration when the request is handled. Of two requests, the newer one
    ///   therefore stays in force.
    package func apply(_ current: @Sendable () -> Goal) async -> Applied {
        let goal = current()
        deadlines.grace = goal.grace
        let mounts = mounts.change(to: goal.mounts)
        let ports = await forwarding.apply(goal.forwards)
        return Applied(ports: ports, mountComplaints: await mounts.finished())
    }

    /// Replaces this program by another one.
    /// - Returns: only if that fails, with the reason.
    nonisolated func upgrade(_ upgrade: ProgramReplacement, version: String) async -> HostError? {
        // The next agent reads the guest's progress from the log, so the log must be on disk.
        guard await log.flush(seconds: 2) else {
            let failure = HostError(
                .held, "the event log cannot be written just now, and the new agent would read it",
                hint: "make room on the disk, then try again")
            log.emit(.warning("not upgraded: \(failure.message)"))
            return failure
        }
        return await withCheckedContinuation { continuation in
            let result = enqueue.yield(.upgrade(upgrade, version: version, continuation))
            if case .terminated = result { continuation.resume(returning: Self.noTimeToUpgrade(.stopped)) }
        }
    }

    /// The reason why the agent cannot be upgraded now; nil if it can.
    func refusalToUpgrade() -> HostError? {
        let isToStop = isToStop.load(ordering: .sequentiallyConsistent)
        if snapshots.isBusy { return Self.noUpgradeDuringSnapshot }
        return lifecycle.canBeHandedOver && !isToStop ? nil : Self.noTimeToUpgrade(lifecycle.phase)
    }

    var phase: Phase { lifecycle.phase }

    // MARK: The queue

    /// Runs the guest to its end.
    package func run() async -> Outcome {
        enqueue.yield(.input(.start(survivor: parts.survivor != nil)))
        bag.start { [parts, log] in
            await StartReporter(notifier: parts.notifier, log: log, deadlines: parts.deadlines).run()
        }
        bag.start { [clock, enqueue] in
            for await _ in clock.jumps { enqueue.yield(.input(.hostClockChanged)) }
        }
        bag.start { [forwarding] in await forwarding.followConnections() }
        for await message in queue {
            for action in take(message) { perform(action) }
            if outcome != nil { break }
        }
        enqueue.finish()
        await bag.close()
        if forgetsMounts { await mounts.forget() }
        // Requests that came too late still need an answer.
        for await case .upgrade(_, _, let continuation) in queue {
            continuation.resume(returning: Self.noTimeToUpgrade(.stopping))
        }
        return outcome ?? .guestLost(reason: "the supervisor's queue ended")
    }

    private func take(_ message: Message) -> [Lifecycle.Action] {
        switch message {
        case .input(let input):
            return lifecycle.handle(input)
        case .launched(let live):
            mounts.launched()
            follow(live)
            log.emit(.guestSpawned(pid: live.guest.pid, accelerator: live.guest.accelerator))
            return lifecycle.handle(.launched)
        case .attached(let live):
            return attached(live)
        case .startWork(let input, let attempt):
            return attempt == self.attempt ? lifecycle.handle(input) : []
        case .timer(let timer, let generation):
            guard timers[timer] == generation else { return [] }
            if timer == .phaseDeadline, lifecycle.phase == .booting, let live, !limits.isOver(elapsed: log.elapsed) {
                bag.start { [enqueue] in
                    let sign = await StartWork.bootSign(of: live.guest)
                    enqueue.yield(.bootOverdue(sign, generation: generation))
                }
                return []
            }
            timers[timer] = nil
            switch timer {
            case .phaseDeadline: return lifecycle.handle(.deadlinePassed(evidence: parts.access.evidence))
            case .stopLadder: return lifecycle.handle(.ladderTimePassed)
            }
        case .bootOverdue(let sign, let generation):
            guard timers[.phaseDeadline] == generation else { return [] }
            return lifecycle.handle(.bootOverdue(sign, evidence: parts.access.evidence))
        case .heartbeat(let beat, let process):
            // Ignore a late heartbeat of a machine that was replaced.
            return live?.guest.record.process == process ? lifecycle.handle(.heartbeat(beat)) : []
        case .claimLost:
            requestStop(by: "loss of the instance's directory", force: false)
            return []
        case .upgrade(let upgrade, let version, let continuation):
            continuation.resume(returning: replaceProgram(upgrade, version: version))
            return []
        case .provisioningFailed(let mode, let script, let status):
            // Each script runs once, before the guest is ready. Other reports are ignored.
            let name = "\(mode)/\(script)"
            guard !lifecycle.phase.isUsable, failedScripts.count < 20, failedScripts.insert(name).inserted else {
                return []
            }
            log.emit(.provisioningFailed(mode: mode, script: script, status: status))
            let reason = AgentEvent.provisioningFault(mode: mode, script: script, status: status)
            return lifecycle.handle(.provisioningFailed(reason: reason))
        }
    }

    private func attached(_ live: LiveGuest) -> [Lifecycle.Action] {
        follow(live)
        let survivor = parts.survivor
        log.emit(
            .attached(
                pid: live.guest.pid, accelerator: live.guest.accelerator, previousRun: survivor?.previousRun,
                previousAgent: survivor?.previousAgent))
        if live.channel != nil { forwarding.guestWillTell() }
        // Events from the time without an agent arrive with this answer.
        bag.start { _ = try? await live.guest.checkAlive() }
        // Emit the failures again, so that the next agent finds them in the log as well.
        for failure in survivor?.provisioningFailures ?? [] { log.emit(failure) }
        for repair in survivor?.repairs ?? [] { log.emit(.warning(repair)) }
        return lifecycle.handle(.attached(survivor?.readiness ?? .unknown, fault: survivor?.provisioningFault))
    }

    private func perform(_ action: Lifecycle.Action) {
        switch action {
        case .enter(let phase):
            log.emit(.phaseChanged(phase))
            // The path may belong to another instance by now.
            if parts.claim.isIntact { parts.access.follow(phase) }
        case .emit(let event):
            log.emit(event)
            if case .guestRebooted = event {
                forwarding.guestBoots()
                mounts.guestBoots()
            }
        case .attach: if let survivor = parts.survivor { start { .attached(try await $0.attach(to: survivor)) } }
        case .prepare:
            attempt += 1
            failedScripts = []
            // The servers of the machine before have ended with it. Nobody may serve or record anything for it now.
            mounts.stop()
            start {
                try await $0.prepare()
                return .input(.prepared)
            }
        case .launch: start { .launched(try await $0.launch()) }
        case .awaitGuest: if live?.channel == nil { awaitGreeting() }
        case .awaitGreeting: awaitGreeting()
        case .confirmAccess: confirmAccess(probes: true)
        case .confirmSurvivor: confirmAccess(probes: false)
        case .forwardPorts: if let live { forwarding.start(beside: live) }
        case .repairPorts: if let live { forwarding.repair(of: live.guest) }
        case .setGuestClock:
            clock.tell()
            // A guest that has gone back to a snapshot listens on what it did then.
            if let channel = live?.channel { forwarding.ask(channel) }
        case .announceReady:
            wasReady = true
            parts.notifier.ready(status: "running")
        case .announceStopping: announceStopping()
        case .beginHeartbeat: if let live { heartbeat.start(beside: live) }
        case .hastenHeartbeat: heartbeat.hasten()
        case .startTimer(let timer, let wait): startTimer(timer, wait)
        case .stopTimer(let timer): timers[timer] = nil
        case .cancelStart:
            forwarding.cancelRepair()
            for task in startTasks { task.cancel() }
            startTasks = []
        case .perform(let step): take(step)
        case .finish(let outcome, let endedBy): finish(outcome, endedBy: endedBy)
        }
    }

    private func startTimer(_ timer: Lifecycle.Timer, _ wait: Lifecycle.Wait) {
        generation += 1
        let mine = generation
        timers[timer] = mine
        let duration = limits.duration(of: wait, elapsed: log.elapsed)
        bag.start { [enqueue, parts] in
            guard (try? await parts.sleep(duration)) != nil else { return }
            enqueue.yield(.timer(timer, generation: mine))
        }
    }

    /// The limit that a person set for the start does not apply to a later reboot of the guest.
    private var limits: Deadlines { wasReady ? Deadlines(grace: deadlines.grace, start: nil) : deadlines }

    // MARK: Starting

    /// Runs a step of a start. A stop cancels it, and its failure fails the start.
    private func start(_ step: @escaping @Sendable (StartWork) async throws -> Message) {
        let task = bag.start { [enqueue, attempt, work] in
            do {
                enqueue.yield(try await step(work))
            } catch is CancellationError {
                enqueue.yield(.startWork(.startCancelled, attempt: attempt))
            } catch let error as HostError {
                let hint = error.hint.map { "; \($0)" } ?? ""
                enqueue.yield(.startWork(.startFailed(error.code, reason: error.message + hint), attempt: attempt))
            } catch {
                enqueue.yield(.startWork(.startFailed(.failed, reason: "\(error)"), attempt: attempt))
            }
        }
        startTasks.append(task)
    }

    private func follow(_ live: LiveGuest) {
        for service in services { service.stop() }
        self.live = live
        logBounds.start(beside: live)
        clock.start(beside: live)
        // The manager's watchdog runs from the first readiness on, even while a new machine boots.
        if wasReady { heartbeat.start(beside: live) }
        snapshots.start(beside: live)
        mounts.start(beside: live)
        bag.start { [enqueue] in
            for await event in live.guest.events { enqueue.yield(.input(.guest(event))) }
        }
        if let channel = live.channel { bag.start { [self] in await follow(channel) } }
    }

    /// Without a channel, the SSH server's greeting is the only sign of readiness. The same is true if the guest
    /// reported readiness to a previous agent whose log is lost.
    private func awaitGreeting() {
        start {
            try await $0.access.waitForGreeting()
            return .input(.guestIsReady)
        }
    }

    private func confirmAccess(probes: Bool) {
        start {
            try await $0.confirmAccess(probes: probes)
            return .input(.accessConfirmed)
        }
    }

    // MARK: Upgrading

    /// - Returns: only if this agent continues, with the reason.
    private func replaceProgram(_ upgrade: ProgramReplacement, version: String) -> HostError {
        let failure: HostError
        if let refusal = refusalToUpgrade() {
            failure = refusal
        } else {
            log.emit(.upgrading(version: version))
            log.waitForWrites()
            failure = upgrade.perform(parts.claim) { isToStop.load(ordering: .sequentiallyConsistent) }
        }
        log.emit(.warning("not upgraded: \(failure.message)"))
        return failure
    }

    // MARK: Stopping

    private func announceStopping() {
        // What listens in the guest ends now. Each port that is closed one by one would only delay its end.
        forwarding.stop()
        mounts.stop()
        stopBegan = stopBegan ?? log.elapsed
        parts.notifier.stopping(status: "stopping")
        parts.notifier.extendTimeout(seconds: deadlines.stop.total)
    }

    private func take(_ step: StopStep) {
        log.emit(.stopStep(step))
        guard let live else { return }
        if step == .kill {
            live.guest.kill()
            return
        }
        bag.start { [log] in
            do {
                if step == .quit {
                    try await live.guest.quit()
                } else {
                    live.channel?.send(.poweroff)
                    try await live.guest.pressPowerButton()
                }
            } catch {
                log.emit(.warning("\(step.rawValue): \(error)"))
            }
        }
    }

    private func finish(_ outcome: Outcome, endedBy: StopStep?) {
        if live != nil {
            log.emit(.guestEnded(step: endedBy, seconds: stopBegan.map { log.elapsed - $0 } ?? 0))
        }
        // A living guest that could not be attached to must remain discoverable for the next agent.
        let isLeft = live == nil && parts.survivor?.guest.process.isAlive ?? false
        // The path may belong to another instance by now. Do not remove its records.
        let last = outcome.failure == nil ? Phase.stopped : .failed
        if !isLeft, parts.claim.isIntact {
            parts.driver.finder.forget()
            forgetsMounts = true
            parts.access.follow(last)
        }
        for service in services { service.stop() }
        live?.channel?.close()
        log.setGuest(pid: nil, accelerator: nil)
        log.emit(.phaseChanged(last))
        self.outcome = outcome
    }
}
