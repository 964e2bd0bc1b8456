import AgentAPI
import GuestAccess
import GuestDriver
import HostModel
import HostOS
import ServiceManagement
import Synchronization

/// The one owner of the lifecycle: takes requests, guest events and timers from one queue, asks the state machine, and
/// performs what it answers, in order.
actor Supervisor {
    /// What enters the queue. Live things travel with the message that announces them.
    private enum Message: Sendable {
        case input(Lifecycle.Input)
        case launched(any Guest, GuestChannel?)
        case attached(any Guest, GuestChannel?)
        /// Work of a start has ended badly.
        case startWork(Lifecycle.Input, attempt: Int)
        case timer(Lifecycle.Timer, generation: Int)
        /// A guest that is slow to boot was looked at.
        case bootOverdue(Lifecycle.BootSign, generation: Int)
        case provisioningFailed(mode: String, script: String, status: Int)
        /// Become another program, if now is a good time.
        case upgrade(Upgrade, version: String, CheckedContinuation<HostError?, Never>)
    }

    private let driver: any GuestDriver
    private let access: GuestAccessPlan
    private let delay: RestartDelay
    private let claim: InstanceClaim
    private let survivor: Survivor?
    private let log: EventLog
    private let notifier: Notifier
    private var deadlines: Deadlines
    private var forwarding: PortForwarding
    private let clock = HostClock()

    /// A stop was asked for: it must not be lost in an upgrade.
    private nonisolated let isToStop = Atomic(false)
    private nonisolated let queue: AsyncStream<Message>
    private nonisolated let enqueue: AsyncStream<Message>.Continuation

    private var lifecycle = Lifecycle()
    private var guest: (any Guest)?
    private var channel: GuestChannel?
    /// The timers that count; one that fires with another generation was replaced or stopped.
    private var timers: [Lifecycle.Timer: Int] = [:]
    private var generation = 0
    private var stopBegan: Double?
    private var heartbeat: (beat: Heartbeat, task: Task<Void, Never>)?
    private var wasReady = false
    /// Provisioning scripts of the current boot that were reported as failed.
    private var failedScripts: Set<String> = []
    /// Counts launches: what work for an earlier one still has to say does not count.
    private var attempt = 0
    private var startWork: [Task<Void, Never>] = []
    private var outcome: Outcome?

    init(
        driver: any GuestDriver, access: GuestAccessPlan, delay: RestartDelay, claim: InstanceClaim,
        survivor: Survivor?, log: EventLog, notifier: Notifier, deadlines: Deadlines,
        forwards: [PortForward]
    ) {
        forwarding = PortForwarding(forwards, log: log)
        self.driver = driver
        self.access = access
        self.delay = delay
        self.claim = claim
        self.survivor = survivor
        self.log = log
        self.notifier = notifier
        self.deadlines = deadlines
        (queue, enqueue) = AsyncStream.makeStream()
    }

    /// Asks for a stop, from any thread.
    nonisolated func requestStop(by: String, force: Bool) {
        isToStop.store(true, ordering: .sequentiallyConsistent)
        log.emit(.stopRequested(by: by, force: force))
        enqueue.yield(.input(.stopRequested(force: force)))
    }

    /// Goes by another configuration from now on.
    func apply(grace: Int, forwards: [PortForward]) async -> PortForwarding.Change {
        deadlines.grace = grace
        forwarding.wanted = forwards
        guard let guest, lifecycle.phase.hasGuest else { return PortForwarding.Change() }
        return await forwarding.apply(to: guest).value
    }

    /// Becomes another program.
    /// - Returns: only when that cannot be, with the reason.
    nonisolated func upgrade(_ upgrade: Upgrade, version: String) async -> HostError? {
        await withCheckedContinuation { continuation in
            let result = enqueue.yield(.upgrade(upgrade, version: version, continuation))
            if case .terminated = result { continuation.resume(returning: Self.noTimeToUpgrade(.stopped)) }
        }
    }

    private static func noTimeToUpgrade(_ phase: Phase) -> HostError {
        HostError(.held, "an agent that is \(phase.rawValue) is not replaced", hint: "try again when the guest runs")
    }

    /// - Returns: the file was gone, and is there again.
    nonisolated func restoreSSHConfiguration() -> Bool { access.restoreSSHConfiguration() }

    /// Looks after the claim on the instance. Without its directory a guest can be found by nobody, and a new one of the
    /// same name could come up.
    /// - Returns: false when it has to be looked after again soon.
    @discardableResult
    nonisolated func renewClaim() -> Bool {
        switch claim.renew() {
        case .held: return true
        case .notYet: return false
        case .gone:
            requestStop(by: "loss of the instance's directory", force: false)
            return true
        }
    }

    /// Runs the guest to its end.
    func run() async -> Outcome {
        await withTaskGroup(of: Void.self) { group in
            enqueue.yield(.input(.start(survivor: survivor != nil)))
            group.addTask { [notifier, log, deadlines] in
                await StartReporter(notifier: notifier, log: log, deadlines: deadlines).run()
            }
            group.addTask { [clock, enqueue] in
                for await _ in clock.jumps { enqueue.yield(.input(.hostClockChanged)) }
            }
            for await message in queue {
                for action in take(message, in: &group) { perform(action, in: &group) }
                if outcome != nil { break }
            }
            enqueue.finish()
            group.cancelAll()
            // Who asked too late is told.
            for await case .upgrade(_, _, let continuation) in queue {
                continuation.resume(returning: Self.noTimeToUpgrade(.stopping))
            }
        }
        return outcome ?? .guestLost(reason: "the supervisor's queue ended")
    }

    private func take(_ message: Message, in group: inout TaskGroup<Void>) -> [Lifecycle.Action] {
        switch message {
        case .input(let input):
            return lifecycle.handle(input)
        case .launched(let guest, let channel):
            follow(guest, channel, in: &group)
            log.emit(.guestSpawned(pid: guest.pid, accelerator: guest.accelerator))
            return lifecycle.handle(.launched)
        case .attached(let guest, let channel):
            follow(guest, channel, in: &group)
            log.emit(
                .attached(
                    pid: guest.pid, accelerator: guest.accelerator, previousRun: survivor?.previousRun,
                    previousAgent: survivor?.previousAgent))
            // What happened to it while no agent lived comes as events.
            group.addTask { _ = try? await guest.checkAlive() }
            // It stays in the story, for the next agent too.
            for failure in survivor?.provisioningFailures ?? [] { log.emit(failure) }
            for repair in survivor?.repairs ?? [] { log.emit(.warning(repair)) }
            return lifecycle.handle(
                .attached(survivor?.readiness ?? .unknown, fault: survivor?.provisioningFault))
        case .startWork(let input, let attempt):
            return attempt == self.attempt ? lifecycle.handle(input) : []
        case .timer(let timer, let generation):
            guard timers[timer] == generation else { return [] }
            if timer == .phaseDeadline, lifecycle.phase == .booting, let guest, !limits.isOver(elapsed: log.elapsed) {
                group.addTask { [enqueue] in
                    enqueue.yield(.bootOverdue(await Self.bootSign(of: guest), generation: generation))
                }
                return []
            }
            timers[timer] = nil
            switch timer {
            case .phaseDeadline: return lifecycle.handle(.deadlinePassed(evidence: access.evidence))
            case .stopLadder: return lifecycle.handle(.ladderTimePassed)
            }
        case .bootOverdue(let sign, let generation):
            guard timers[.phaseDeadline] == generation else { return [] }
            return lifecycle.handle(.bootOverdue(sign, evidence: access.evidence))
        case .upgrade(let upgrade, let version, let continuation):
            continuation.resume(returning: become(upgrade, version: version))
            return []
        case .provisioningFailed(let mode, let script, let status):
            // Scripts run before a guest is ready, and each once.
            let name = "\(mode)/\(script)"
            guard !lifecycle.phase.isUsable, failedScripts.count < 20, failedScripts.insert(name).inserted else {
                return []
            }
            log.emit(.provisioningFailed(mode: mode, script: script, status: status))
            let reason = AgentEvent.provisioningFault(mode: mode, script: script, status: status)
            return lifecycle.handle(.provisioningFailed(reason: reason))
        }
    }

    private func perform(_ action: Lifecycle.Action, in group: inout TaskGroup<Void>) {
        switch action {
        case .enter(let phase): log.emit(.phaseChanged(phase))
        case .emit(let event): log.emit(event)
        case .attach: start(in: &group) { try await self.attach() }
        case .prepare:
            attempt += 1
            failedScripts = []
            start(in: &group) { try await self.prepare() }
        case .launch: start(in: &group) { try await self.launch() }
        case .awaitGuest: if channel == nil { awaitGreeting(in: &group) }
        case .awaitGreeting: awaitGreeting(in: &group)
        case .confirmAccess: start(in: &group) { try await self.confirmAccess(probes: true) }
        case .confirmSurvivor: start(in: &group) { try await self.confirmAccess(probes: false) }
        case .forwardPorts: if let guest { _ = forwarding.apply(to: guest) }
        case .repairPorts: if let guest { forwarding.repair(of: guest) }
        case .setGuestClock: setGuestClock()
        case .announceReady:
            wasReady = true
            notifier.ready(status: "running")
        case .announceStopping: announceStopping()
        case .beginHeartbeat: beginHeartbeat(in: &group)
        case .hastenHeartbeat: heartbeat?.beat.hasten()
        case .startTimer(let timer, let wait): startTimer(timer, wait, in: &group)
        case .stopTimer(let timer): timers[timer] = nil
        case .cancelStart:
            forwarding.cancelRepair()
            for task in startWork { task.cancel() }
            startWork = []
        case .perform(let step): take(step, in: &group)
        case .finish(let outcome, let endedBy): finish(outcome, endedBy: endedBy)
        }
    }

    private func startTimer(_ timer: Lifecycle.Timer, _ wait: Lifecycle.Wait, in group: inout TaskGroup<Void>) {
        generation += 1
        let mine = generation
        timers[timer] = mine
        let duration = limits.duration(of: wait, elapsed: log.elapsed)
        group.addTask { [enqueue] in
            guard (try? await Task.sleep(for: duration)) != nil else { return }
            enqueue.yield(.timer(timer, generation: mine))
        }
    }

    /// What a person set for the start does not count for a reboot of the guest later.
    private var limits: Deadlines { wasReady ? Deadlines(grace: deadlines.grace, start: nil) : deadlines }

    private static func bootSign(of guest: any Guest) async -> Lifecycle.BootSign {
        do {
            if try await guest.checkAlive() != nil { return .stalled }
            return try await guest.secondsIdle() ?? .infinity > Deadlines.silence ? .silent : .busy
        } catch {
            // A machine that does not answer.
            return .silent
        }
    }

    // MARK: Starting

    /// Work of a start: cancelled by a stop, and its failure fails the start.
    private func start(in group: inout TaskGroup<Void>, _ work: @escaping @Sendable () async throws -> Void) {
        let task = Task { [enqueue, attempt] in
            do {
                try await work()
            } catch is CancellationError {
                enqueue.yield(.startWork(.startCancelled, attempt: attempt))
            } catch let error as HostError {
                let hint = error.hint.map { "; \($0)" } ?? ""
                enqueue.yield(.startWork(.startFailed(error.code, reason: error.message + hint), attempt: attempt))
            } catch {
                enqueue.yield(.startWork(.startFailed(.failed, reason: "\(error)"), attempt: attempt))
            }
        }
        startWork.append(task)
        keep(task, in: &group)
    }

    /// The group waits for it and cancels it: nothing outlives the run.
    private func keep(_ task: Task<Void, Never>, in group: inout TaskGroup<Void>) {
        group.addTask {
            await withTaskCancellationHandler {
                await task.value
            } onCancel: {
                task.cancel()
            }
        }
    }

    private func prepare() async throws {
        try await delay.wait(log)
        try await access.prepare()
        try await driver.prepare()
        enqueue.yield(.input(.prepared))
    }

    private func launch() async throws {
        let port = try access.choosePort()
        log.setSSHLocalPort(port)
        try access.writeSSHConfiguration(port: port)
        let guest = try await driver.launch(sshLocalPort: port)
        // From here on the guest has to reach its owner, cancelled or not.
        let channel = await access.openChannel(log)
        log.setGuest(pid: guest.pid, accelerator: guest.accelerator)
        enqueue.yield(.launched(guest, channel))
    }

    private func attach() async throws {
        guard let survivor else { return }
        let guest = try await driver.attach(survivor.guest)
        log.setSSHLocalPort(survivor.guest.sshLocalPort)
        do {
            try access.writeSSHConfiguration(port: survivor.guest.sshLocalPort)
        } catch {
            // A full disk must not cost the guest; the file is there from before.
            log.emit(.warning(error.message))
        }
        let channel = await access.openChannel(log)
        log.setGuest(pid: guest.pid, accelerator: guest.accelerator)
        enqueue.yield(.attached(guest, channel))
    }

    private func follow(_ guest: any Guest, _ channel: GuestChannel?, in group: inout TaskGroup<Void>) {
        heartbeat?.task.cancel()
        heartbeat = nil
        self.guest = guest
        self.channel = channel
        // The manager's watchdog runs from the first readiness on, also while another machine boots.
        if wasReady { beginHeartbeat(in: &group) }
        group.addTask { [enqueue] in
            for await event in guest.events { enqueue.yield(.input(.guest(event))) }
        }
        group.addTask { [enqueue, log] in
            guard let channel else { return }
            for await message in channel.messages {
                switch message {
                case .provisioning: enqueue.yield(.input(.guestIsProvisioning))
                case .ready: enqueue.yield(.input(.guestIsReady))
                case .log(let line): log.emit(.guestLog(line: line))
                case .provisioningFailed(let mode, let script, let status):
                    enqueue.yield(.provisioningFailed(mode: mode, script: script, status: status))
                case .dropped(let reason): log.emit(.warning(reason))
                }
            }
        }
    }

    /// Nothing tells when a guest without a channel is ready but its SSH server's greeting; nor whether one that said so
    /// to an agent whose log is lost.
    private func awaitGreeting(in group: inout TaskGroup<Void>) {
        start(in: &group) { [access, enqueue] in
            try await access.waitForBanner()
            enqueue.yield(.input(.guestIsReady))
        }
    }

    private func confirmAccess(probes: Bool) async throws {
        let began = HostProcess.monotonicSeconds
        try await access.confirm()
        log.emit(.accessConfirmed(milliseconds: Int((HostProcess.monotonicSeconds - began) * 1000)))
        if probes { try await access.runProbes() }
        enqueue.yield(.input(.accessConfirmed))
    }

    // MARK: Being replaced

    /// - Returns: only when this agent goes on, with the reason.
    private func become(_ upgrade: Upgrade, version: String) -> HostError {
        let failure: HostError
        if let refusal = refusalToUpgrade() {
            failure = refusal
        } else {
            log.emit(.upgrading(version: version))
            failure = upgrade.perform(claim) { isToStop.load(ordering: .sequentiallyConsistent) }
        }
        log.emit(.warning("not upgraded: \(failure.message)"))
        return failure
    }

    /// Why now is no time to become another program; nil when it is.
    func refusalToUpgrade() -> HostError? {
        let isToStop = isToStop.load(ordering: .sequentiallyConsistent)
        return lifecycle.canBeHandedOver && !isToStop ? nil : Self.noTimeToUpgrade(lifecycle.phase)
    }

    // MARK: Running

    private func setGuestClock() {
        guard let channel else { return }
        channel.send(.time(HostClock.now))
        log.emit(.guestClockSet(reason: "the host's clock jumped, or the guest stood still"))
    }

    private func beginHeartbeat(in group: inout TaskGroup<Void>) {
        guard let guest, heartbeat == nil else { return }
        let heartbeat = Heartbeat(notifier: notifier) { [clock, weak self] in
            clock.check()
            self?.renewClaim()
        }
        let task = heartbeat.start(guest) { [enqueue, log] beat, silence in
            if beat == .late { log.emit(.guestUnresponsive(seconds: silence)) }
            enqueue.yield(.input(.heartbeat(beat)))
        }
        self.heartbeat = (heartbeat, task)
        keep(task, in: &group)
    }

    // MARK: Stopping

    private func announceStopping() {
        forwarding.cancelRepair()
        stopBegan = stopBegan ?? log.elapsed
        notifier.stopping(status: "stopping")
        notifier.extendTimeout(seconds: deadlines.stopSeconds)
    }

    private func take(_ step: StopStep, in group: inout TaskGroup<Void>) {
        log.emit(.stopStep(step))
        if step == .kill {
            guest?.kill()
            return
        }
        group.addTask { [guest, channel, log] in
            do {
                if step == .quit {
                    try await guest?.quit()
                } else {
                    channel?.send(.poweroff)
                    try await guest?.pressPowerButton()
                }
            } catch {
                log.emit(.warning("\(step.rawValue): \(error)"))
            }
        }
    }

    private func finish(_ outcome: Outcome, endedBy: StopStep?) {
        if guest != nil {
            log.emit(.guestEnded(step: endedBy, seconds: stopBegan.map { log.elapsed - $0 } ?? 0))
        }
        // A guest that could not be attached to, and lives, has to be found by whoever comes next.
        let isLeft = guest == nil && survivor?.guest.process.isAlive ?? false
        if !isLeft { driver.forget() }
        channel?.close()
        log.setGuest(pid: nil, accelerator: nil)
        log.emit(.phaseChanged(outcome.failure == nil ? .stopped : .failed))
        self.outcome = outcome
    }
}
