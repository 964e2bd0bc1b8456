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
    private struct State {
        var plan: MountPlan
        var live: LiveGuest?
        var tasks: [Task<Void, Never>] = []
        /// The mounts whose server this agent ends itself.
        var renewed: Set<Int> = []
        /// The mounts that have no server, which has been reported.
        var unserved: Set<Int> = []
    }

    private let state: Mutex<State>
    private let log: EventLog
    private let bag: TaskBag
    /// Gets what became of a mount, for the lifecycle.
    private let tell: @Sendable (Lifecycle.Input) -> Void

    init(_ plan: MountPlan, log: EventLog, in bag: TaskBag, tell: @escaping @Sendable (Lifecycle.Input) -> Void) {
        state = Mutex(State(plan: plan))
        self.log = log
        self.bag = bag
        self.tell = tell
    }

    func start(beside live: LiveGuest) {
        state.withLock { state in
            state.live = live
            save(state.plan)
            state.tasks = state.plan.entries.indices.map { number in
                bag.start { [self] in await serve(number) }
            }
        }
    }

    func stop() {
        let tasks = state.withLock { state in
            defer { (state.live, state.tasks) = (nil, []) }
            return state.tasks
        }
        for task in tasks { task.cancel() }
    }

    /// The guest boots again. Its new client would be answered with what the server still owes the earlier one, so each
    /// gets a new server.
    func guestBoots() {
        let (plan, isLive) = state.withLock { ($0.plan, $0.live != nil) }
        guard isLive, let directory = plan.directory else { return }
        for (number, entry) in plan.entries.enumerated() {
            guard let server = entry.server, server.isAlive(in: directory.path) else { continue }
            state.withLock { _ = $0.renewed.insert(number) }
            bag.start { await server.end(in: directory.path) }
        }
    }

    /// The guest tells of the mount of this number.
    func take(_ report: MountReport, about number: Int) {
        // The guest is not trusted with the number.
        guard
            let mount = state.withLock({
                $0.plan.entries.indices.contains(number) ? $0.plan.entries[number].mount : nil
            })
        else { return }
        switch report {
        case .mounted(let type):
            log.emit(.mount(mount, .mounted(type)))
            tell(.mounted(mountPoint: mount.mountPoint))
        case .failed(let reason):
            // A guest whose host has no server can only tell that.
            guard !state.withLock({ $0.unserved.contains(number) }) else { return }
            fail(mount, "in the guest: \(reason)")
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

    // MARK: Servers

    private func save(_ plan: MountPlan) {
        do {
            try plan.save()
        } catch {
            log.emit(.warning("the next agent will not find the servers of the mounts: \(error)"))
        }
    }

    /// Sees to it that the mount has a server as long as the task runs.
    private func serve(_ number: Int) async {
        var backoff = Backoff(from: .milliseconds(100), to: .seconds(30))
        var lastFailure = ""
        var isNewServer = false
        while !Task.isCancelled {
            guard let (mount, server) = await server(number, &lastFailure) else {
                guard (try? await backoff.pause()) != nil else { return }
                continue
            }
            if isNewServer || !lastFailure.isEmpty {
                channel?.send(.mountDirectories(renewed: number))
            } else if state.withLock({ $0.plan.isRecorded }) {
                // The guest may have failed to mount it while there was no agent.
                channel?.send(.mountDirectories(renewed: nil))
            }
            (isNewServer, lastFailure) = (true, "")
            let began = ContinuousClock.now
            guard await server.waitUntilEnded() != nil, !Task.isCancelled else { return }
            let isRenewed = state.withLock { $0.renewed.remove(number) != nil }
            if !isRenewed { lost(number, mount) }
            if began.duration(to: .now) > .seconds(60) { backoff = Backoff(from: .milliseconds(100), to: .seconds(30)) }
            guard (try? await backoff.pause()) != nil else { return }
        }
    }

    private func lost(_ number: Int, _ mount: Mount) {
        let complaint = state.withLock { $0.plan.directory }.map {
            TextFile.tail($0.mountLog(number), count: 300).trimmed
        }
        let reason = "its server has ended" + (complaint.map { $0.isEmpty ? "" : ": \($0)" } ?? "")
        log.emit(.mount(mount, .lost(reason: reason)))
        fault(mount, reason)
    }

    private var channel: (any ChannelToGuest)? { state.withLock { $0.live?.channel } }

    /// The server that an earlier agent left, or a new one.
    /// - Returns: nil if there can be none now, which has been reported.
    private func server(_ number: Int, _ lastFailure: inout String) async -> (Mount, ProcessIdentity)? {
        let plan = state.withLock { $0.plan }
        guard let directory = plan.directory else { return nil }
        let entry = plan.entries[number]
        if let server = entry.server, server.isAlive(in: directory.path) { return (entry.mount, server.process) }
        do {
            let log = directory.mountLog(number)
            let connection = try UnixSocket.connect(path: directory.mountSocket(number))
            let process = try await FileServer(entry.mount, log: log, searchPath: plan.searchPath).start(on: connection)
            state.withLock { state in
                state.unserved.remove(number)
                state.plan.entries[number].server = HelperRecord(
                    name: "file server", process: process, holds: InstanceDirectory.mountLogName(number))
                save(state.plan)
            }
            return (entry.mount, process)
        } catch {
            let reason = (error as? HostError).map { $0.message + ($0.hint.map { "; \($0)" } ?? "") } ?? "\(error)"
            state.withLock { _ = $0.unserved.insert(number) }
            if reason != lastFailure, !Task.isCancelled { fail(entry.mount, reason) }
            lastFailure = reason
            return nil
        }
    }
}
