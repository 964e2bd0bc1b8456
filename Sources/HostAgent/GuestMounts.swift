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
        var tasks: [Task<Void, Never>] = []
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
        /// This agent has seen the guest boot.
        var sawBoot = false
        /// The guest runs already, so it has to be told when there is a server.
        var isUnderWay = false
    }

    let state: Mutex<State>
    let log: EventLog
    let bag: TaskBag
    private let disk = DiskWork("mounts")
    /// Gets what became of a mount, for the lifecycle.
    private let tell: @Sendable (Lifecycle.Input) -> Void
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
            (state.sawBoot, state.isUnderWay) = (true, false)
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
    }

    private func startTasks(_ state: inout State) {
        state.tasks = state.plan.entries.indices.map { number in
            bag.start { [self] in await serve(number) }
        }
    }

    func stop() { _ = stopTasks(andForgetGuest: true) }

    private func stopTasks(andForgetGuest: Bool) -> [Task<Void, Never>] {
        let tasks = state.withLock { state -> [Task<Void, Never>] in
            defer { state.tasks = [] }
            if andForgetGuest { state.live = nil }
            return state.tasks
        }
        for task in tasks { task.cancel() }
        return tasks
    }

    /// The guest goes back to an earlier state, in which its clients hold the handles of other files. No server of now may
    /// hear them.
    func suspend() async {
        for task in stopTasks(andForgetGuest: false) { await task.value }
        await end()
    }

    /// The guest is in its other state, or stayed in this one.
    func resume() {
        state.withLock { state in
            guard state.live != nil else { return }
            state.isUnderWay = true
            startTasks(&state)
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
            (state.reported, state.served, state.retries) = ([], [], [:])
            (state.sawBoot, state.isUnderWay) = (true, true)
            return (state.plan, state.live == nil ? [:] : state.unserved)
        }
        for (number, reason) in faults { fault(plan.entries[number].mount, reason) }
        // QEMU may tell of one reboot twice.
        for number in plan.entries.indices where !state.withLock({ $0.renewed.contains(number) }) { renew(number) }
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
            return state.plan.entries.indices.filter { !state.reported.contains($0) && state.unserved[$0] == nil }
                .map { state.plan.entries[$0].mount }
        }
        for mount in missing { fail(mount, "the guest did not say that it has mounted it") }
    }

    /// The guest tells of the mount of this number. It is not trusted with the number, nor with what only the host can know.
    func take(_ report: MountReport, about number: Int) {
        let mount = state.withLock { state -> Mount? in
            guard state.live != nil, state.plan.entries.indices.contains(number) else { return nil }
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
            if !isImpaired { tell(.mounted(mountPoint: mount.mountPoint)) }
        case .failed(let reason):
            fail(mount, "in the guest: \(reason)")
            let mayTry = state.withLock { state -> Bool in
                state.retries[number, default: 0] += 1
                return state.retries[number, default: 0] <= Self.maximumRetries
            }
            // The server may still be in the middle of what an earlier client asked.
            if mayTry { renew(number) }
        }
    }

    private func fault(_ mount: Mount, _ reason: String) {
        let sentence = "\(mount.location) is not mounted at \(mount.mountPoint): \(reason)"
        tell(.mountFailed(mountPoint: mount.mountPoint, reason: sentence))
    }

    private func fail(_ mount: Mount, _ reason: String) {
        log.emit(.mount(mount, .failed(reason: reason)))
        fault(mount, reason)
    }

    func lost(_ mount: Mount, _ reason: String) {
        log.emit(.mount(mount, .lost(reason: reason)))
        fault(mount, reason)
    }

    // MARK: Servers

    static let replaced = "the directory was removed, moved or replaced"
    private static var firstPause: Backoff { Backoff(from: .milliseconds(100), to: .seconds(30)) }

    /// Sees to it that the mount has a server as long as the task runs.
    private func serve(_ number: Int) async {
        // A location may be on a file system that hangs.
        let work = DiskWork("mount \(number)")
        var backoff = Self.firstPause
        var isToMount = state.withLock { $0.isUnderWay }
        while !Task.isCancelled {
            if let isToTell = await followSharer(of: number, work) {
                isToMount = isToTell
                continue
            }
            guard let (mount, server) = await server(number, work) else {
                isToMount = true
                guard let next = await pause(backoff, of: number, work) else { return }
                backoff = next
                continue
            }
            let isRenewed = state.withLock { $0.served.remove(number) != nil }
            if isRenewed || isToMount { channel?.send(.mountDirectories(renewed: isRenewed ? number : nil)) }
            isToMount = true
            let began = ContinuousClock.now
            let isReplaced = await follow(server, of: mount, number, work)
            guard !Task.isCancelled else { return }
            let isIntended = state.withLock { $0.renewed.remove(number) != nil }
            if isReplaced {
                lost(mount, Self.replaced)
                await end(number)
            } else if !isIntended {
                lost(mount, "its server has ended" + complaint(of: number))
            }
            if began.duration(to: .now) > .seconds(60) { backoff = Self.firstPause }
            guard (try? await backoff.pause()) != nil else { return }
        }
    }

    var channel: (any ChannelToGuest)? { state.withLock { $0.live?.channel } }

    /// Waits until the server has ended, or the path of the location leads to something else. The server would keep the
    /// directory that was there.
    /// - Returns: whether it was replaced.
    func follow(
        _ server: ProcessIdentity, of mount: Mount, _ number: Int, _ work: DiskWork
    ) async -> Bool {
        await withTaskGroup(of: Bool?.self) { group in
            group.addTask { [self] in
                await tellOfChanges(in: mount, number)
                return nil
            }
            group.addTask {
                _ = await server.waitUntilEnded()
                return false
            }
            group.addTask {
                if await Self.leadsElsewhere(mount.location, after: .losses, work) { return true }
                // It cannot be watched, or the task was cancelled. The server decides.
                _ = await server.waitUntilEnded()
                return false
            }
            defer { group.cancelAll() }
            for await isReplaced in group { if let isReplaced { return isReplaced } }
            return false
        }
    }

    /// Waits before a server is tried again: for what was missing in the place of the location, or for the time of the pause.
    /// - Returns: the next pause; nil if the task was cancelled.
    private func pause(_ backoff: Backoff, of number: Int, _ work: DiskWork) async -> Backoff? {
        let location = state.withLock { $0.plan.entries[number].mount.location }
        return await withTaskGroup(of: Backoff?.self) { group in
            group.addTask {
                var next = backoff
                return (try? await next.pause()) == nil ? nil : next
            }
            group.addTask {
                if await Self.leadsElsewhere(location, after: .arrivals, work) { return Self.firstPause }
                var next = backoff
                return (try? await next.pause()) == nil ? nil : next
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }

    /// Waits until the path leads to something else than now. Its parent directory tells.
    /// - Returns: false if that cannot be watched, or the task was cancelled.
    private static func leadsElsewhere(
        _ location: String, after change: DirectoryWatch.Change, _ work: DiskWork
    ) async -> Bool {
        let identity = await work.run { Files.identity(location) }
        let parent = location.split(separator: "/").dropLast().map { "/" + $0 }.joined()
        let watch = DirectoryWatch(path: parent.isEmpty ? "/" : parent, of: change)
        for await _ in watch.changes {
            if await work.run({ Files.identity(location) }) != identity { return true }
        }
        return false
    }

    /// Ends the server of a mount.
    /// - Returns: false if there was none that is proven to be this instance's.
    @discardableResult
    private func end(_ number: Int) async -> Bool {
        let plan = state.withLock { $0.plan }
        guard let directory = plan.directory, let record = plan.entries[number].server else { return false }
        return await record.endConfined(in: directory.path)
    }

    func complaint(of number: Int) -> String {
        state.withLock { $0.plan.directory }.map { Self.complaint(in: $0.mountLog(number)) } ?? ""
    }

    /// A failure with what to do about it, on one line.
    static func sentence(_ error: any Error) -> String {
        (error as? HostError).map { $0.message + ($0.hint.map { "; \($0)" } ?? "") } ?? "\(error)"
    }

    /// The end of what a server has complained of, as the end of a sentence.
    static func complaint(in log: String) -> String {
        let complaint = TextFile.tail(log, count: 300).trimmed
        return complaint.isEmpty ? "" : ": \(complaint)"
    }

    /// Records the servers for the next agent.
    func save() async {
        do {
            try await disk.run { [self] in try state.withLock { $0.plan }.save() }
        } catch {
            log.emit(.warning("the next agent will not find the servers of the mounts: \(error)"))
        }
    }

    /// The server that an earlier agent left, or a new one.
    /// - Returns: nil if there can be none now, which has been reported.
    private func server(_ number: Int, _ work: DiskWork) async -> (Mount, ProcessIdentity)? {
        let plan = state.withLock { $0.plan }
        guard let directory = plan.directory else { return nil }
        let entry = plan.entries[number]
        if let server = entry.server, server.isAlive(in: directory.path) { return (entry.mount, server.process) }
        guard !Task.isCancelled else { return nil }
        do {
            // What was taken away on purpose is not made anew.
            let makesLocation = entry.server == nil && !plan.isRecorded
            let connection = try UnixSocket.connect(path: directory.mountSocket(number))
            let process = try await MountServer(
                entry.mount, log: directory.mountLog(number), searchPath: plan.searchPath
            ).startSFTP(on: connection, makesLocation: makesLocation, work)
            let record = HelperRecord(
                name: "file server", process: process, holds: InstanceDirectory.mountLogName(number))
            // The record may be that of another machine by now.
            guard !Task.isCancelled else {
                await record.endConfined(in: directory.path)
                return nil
            }
            state.withLock { $0.plan.entries[number].server = record }
            await save()
            // What is wrong with a location shows at once.
            if await process.ended(within: Self.trial), !Task.isCancelled {
                throw HostError(.unavailable, "the directory's server does not start" + complaint(of: number))
            }
            state.withLock { _ = $0.unserved.removeValue(forKey: number) }
            return (entry.mount, process)
        } catch {
            let reason = Self.sentence(error)
            let isNew = state.withLock { $0.unserved.updateValue(reason, forKey: number) } != reason
            if isNew, !Task.isCancelled { fail(entry.mount, reason) }
            return nil
        }
    }

    /// How long a server is watched that has just begun. The guest can use it meanwhile.
    static let trial = Duration.milliseconds(300)
}
