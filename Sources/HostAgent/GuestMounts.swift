import GuestAccess
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Mounts
import Synchronization

/// Has a server for each of the host's directories that the guest has. A server is a helper of the guest: it outlives the
/// agent, the next agent finds it, and it ends with the machine whose port it serves.
final class GuestMounts: GuestService {
    struct State {
        var plan: MountPlan
        var live: LiveGuest?
        /// What follows the server of each mount, by the number of the mount.
        var tasks: [Int: Task<Void, Never>] = [:]
        /// Why mounts have no server, by their numbers. The guest cannot have them.
        var unserved: [Int: String] = [:]
        /// The mounts whose server this agent ends itself.
        var renewed: Set<Int> = []
        /// The mounts that the guest has told of since it booted.
        var reported: Set<Int> = []
        /// The mounts that the guest has by the server of now. A client must be ended before there is another server: it would
        /// not notice the change, and be refused.
        var served: Set<Int> = []
        /// How often each mount that failed in the guest was tried again since it booted.
        var retries: [Int: Int] = [:]
        /// What tells the guest of changes, by the numbers of the mounts.
        var changes: [Int: MountChanges] = [:]
        /// Ends when the guest has said, or the host knows, what becomes of the mount of this number.
        var awaited: [Int: AsyncStream<Void>.Continuation] = [:]
        /// The last change of mounts.
        var change: Task<Void, Never>?
        /// The numbers of mounts that the guest has given back and whose servers are being ended.
        var ending: Set<Int> = []
        /// A snapshot is being applied. Nobody may serve the guest meanwhile.
        var isSuspended = false
        /// The guest has been told of its mounts since it booted.
        var isTold = false
        /// This agent has seen the guest boot.
        var sawBoot = false
        /// The guest runs already, so it has to be told when there is a server.
        var isUnderWay = false
    }

    let state: Mutex<State>
    let log: EventLog
    let bag: TaskBag
    let disk = DiskWork("mounts")
    /// Gets what became of a mount, for the lifecycle.
    let tell: @Sendable (Lifecycle.Input) -> Void
    /// What fails in the guest is tried again this often in one boot.
    private static let maximumRetries = 5

    init(_ plan: MountPlan, log: EventLog, in bag: TaskBag, tell: @escaping @Sendable (Lifecycle.Input) -> Void) {
        state = Mutex(State(plan: plan, isUnderWay: plan.isRecorded))
        self.log = log
        self.bag = bag
        self.tell = tell
    }

    /// A new machine was made by the configuration of this agent.
    func launched() {
        state.withLock { state in
            state.plan.begin()
            // The configuration may have been read again since the agent decided what the machine is made for.
            if let latest = state.plan.latest {
                for number in state.plan.change(to: latest).withdrawn { state.plan.release(number) }
            }
            (state.sawBoot, state.isUnderWay, state.isSuspended, state.isTold) = (true, false, false, false)
            (state.reported, state.served, state.retries, state.unserved) = ([], [], [:], [:])
        }
    }

    func start(beside live: LiveGuest) {
        bag.start { [self] in await save() }
        let plan = state.withLock { state in
            state.live = live
            return state.plan
        }
        if plan.isLost {
            log.emit(
                .warning("the record of the mounts is lost; a server that ends is not replaced until the next start"))
        }
        if !plan.isRecorded { warnOfRefusals(plan.entries) }
        if plan.tellsOfChanges, HostProcess.uid == 0 {
            log.emit(.warning("mountInotify: has no effect, because root runs this instance"))
        }
        state.withLock { startTasks(&$0) }
        // An agent may have ended between its decision and the guest.
        if plan.isRecorded, plan.isChanged { finishChange() }
    }

    private func startTasks(_ state: inout State) {
        for number in state.plan.numbers { startTask(number, &state) }
    }

    /// Starts what follows the server of a mount, if nothing does so and the guest is to have it.
    func startTask(_ number: Int, _ state: inout State) {
        guard state.live != nil, !state.isSuspended, state.tasks[number] == nil, state.plan.numbers.contains(number)
        else {
            return
        }
        state.tasks[number] = bag.start { [self] in await serve(number) }
    }

    func stop() {
        _ = stopTasks(andForgetGuest: true)
        for number in state.withLock({ Array($0.awaited.keys) }) { settle(number) }
    }

    private func stopTasks(andForgetGuest: Bool) -> [Task<Void, Never>] {
        let tasks = state.withLock { state -> [Task<Void, Never>] in
            defer { state.tasks = [:] }
            if andForgetGuest { state.live = nil }
            return Array(state.tasks.values)
        }
        for task in tasks { task.cancel() }
        return tasks
    }

    /// The guest goes back to an earlier state, in which its clients hold the handles of other files. No server of now may
    /// hear them.
    func suspend() async {
        let change = state.withLock { state in
            state.isSuspended = true
            return state.change
        }
        await change?.value
        for task in stopTasks(andForgetGuest: false) { await task.value }
        await end()
    }

    /// The guest is in its other state, or stayed in this one.
    func resume() {
        state.withLock { state in
            state.isSuspended = false
            guard state.live != nil else { return }
            state.isUnderWay = true
            startTasks(&state)
            // What it knows of its mounts is that of its other state.
            state.live?.channel?.send(.setMounts(state.plan.list))
        }
    }

    /// The guest has ended for good, and so have the tasks.
    func forget() async {
        await end()
        let plan = state.withLock { $0.plan }
        // A machine that was not made has used none of them.
        if let directory = plan.directory { await SharedDirectories.end(in: directory) }
        plan.forget()
    }

    private func end() async {
        for number in state.withLock({ $0.plan.entries.indices }) { await end(number) }
    }

    // MARK: What the guest tells

    /// The guest boots again. Its new client would be answered with what the server still owes the earlier one, so each
    /// gets a new server.
    func guestBoots() {
        // An answer of the guest before will not come.
        for changes in state.withLock({ Array($0.changes.values) }) { changes.guestAnswers() }
        let (plan, faults) = state.withLock { state -> (MountPlan, [Int: String]) in
            state.isTold = false
            (state.reported, state.served, state.retries) = ([], [], [:])
            (state.sawBoot, state.isUnderWay) = (true, true)
            return (state.plan, state.live == nil ? [:] : state.unserved)
        }
        for (number, reason) in faults { fault(plan.entries[number].mount, reason) }
        // A guest that boots has nothing mounted any more.
        for number in plan.entries.indices where plan.entries[number].absence == .leaving { finishWithdrawal(number) }
        // QEMU may tell of one reboot twice.
        for number in plan.numbers where !state.withLock({ $0.renewed.contains(number) }) { renew(number) }
    }

    /// The guest's boot scripts begin. They know the mounts of the machine's start.
    func guestIsProvisioning() {
        // Once in a boot, however often the guest says this.
        let list = state.withLock { state -> MountList? in
            guard state.plan.isChanged, state.live != nil, !state.isTold else { return nil }
            state.isTold = true
            return state.plan.list
        }
        if let list { channel?.send(.setMounts(list)) }
    }

    private func renew(_ number: Int) {
        guard state.withLock({ $0.live != nil }) else { return }
        bag.start { [self] in
            state.withLock { _ = $0.renewed.insert(number) }
            if await !end(number) { state.withLock { _ = $0.renewed.remove(number) } }
        }
    }

    /// The guest's boot scripts are done. They report each mount.
    func guestIsReady() {
        let missing = state.withLock { state -> [Mount] in
            guard state.sawBoot, state.live != nil else { return [] }
            return state.plan.numbers.filter { !state.reported.contains($0) && state.unserved[$0] == nil }
                .map { state.plan.entries[$0].mount }
        }
        for mount in missing { fail(mount, "the guest did not say that it has mounted it") }
    }

    /// The guest tells of the mount of this number. It is not trusted with the number, nor with what only the host can know.
    func take(_ report: MountReport, about number: Int) {
        if report == .unmounted {
            let isLeaving = state.withLock { state in
                state.live != nil && state.plan.entries.indices.contains(number)
                    && state.plan.entries[number].absence == .leaving
            }
            if isLeaving { finishWithdrawal(number) }
            return
        }
        let mount = state.withLock { state -> Mount? in
            guard state.live != nil, state.plan.numbers.contains(number) else { return nil }
            // Who refuses one way has not yet said what becomes of the other.
            if case .refused = report {} else { state.reported.insert(number) }
            // A guest whose host has no server can only tell that.
            return state.unserved[number] == nil ? state.plan.entries[number].mount : nil
        }
        guard let mount else { return }
        switch report {
        case .refused(let type, let reason):
            if type == .virtioFS { giveUpSharing(number, because: reason) }
        case .mounted(let type):
            let (isShared, isImpaired) = state.withLock { state in
                (state.plan.sharer(of: number) != nil, state.plan.entries[number].offer == .lost)
            }
            guard type == (isShared ? .virtioFS : .reverseSSHFS) else { return }
            state.withLock { _ = $0.served.insert(number) }
            log.emit(.mount(mount, .mounted(type)))
            // A guest whose kernel waits for a server that has gone is degraded until it is restarted.
            if !isImpaired { tell(.partWorks(mount.mountPoint)) }
            settle(number)
        case .unmounted: break
        case .failed(let reason):
            fail(mount, "in the guest: \(reason)")
            settle(number)
            let mayTry = state.withLock { state -> Bool in
                state.retries[number, default: 0] += 1
                return state.retries[number, default: 0] <= Self.maximumRetries
            }
            // The server may still be in the middle of what an earlier client asked.
            if mayTry { renew(number) }
        }
    }

    static func missing(_ mount: Mount, _ reason: String) -> String {
        "\(mount.location) is not mounted at \(mount.mountPoint): \(reason)"
    }

    private func fault(_ mount: Mount, _ reason: String) {
        tell(.partFailed(mount.mountPoint, reason: Self.missing(mount, reason)))
    }

    func fail(_ mount: Mount, _ reason: String) {
        log.emit(.mount(mount, .failed(reason: reason)))
        fault(mount, reason)
    }

    func lost(_ mount: Mount, _ reason: String) {
        log.emit(.mount(mount, .lost(reason: reason)))
        fault(mount, reason)
    }
}
