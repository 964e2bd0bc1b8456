import GuestAccess
import GuestDriver
import HostOS
import Synchronization

/// A guest and the way to talk to it.
package struct LiveGuest: Sendable {
    package let guest: any Guest
    /// nil for a guest that has no channel, or none that can be connected to.
    package let channel: (any ChannelToGuest)?

    package init(guest: any Guest, channel: (any ChannelToGuest)?) {
        self.guest = guest
        self.channel = channel
    }
}

/// What the agent runs beside a guest for as long as it has one. Started when a guest is launched or attached to, and
/// stopped when it ends or another takes its place; a service can be started again afterwards.
protocol GuestService: Sendable {
    func start(beside guest: LiveGuest)
    func stop()
}

/// Keeps the guest's console and its machine's complaints from filling the host's disk.
final class LogBounds: GuestService {
    private let logs: [BoundedLog]
    private let bag: TaskBag
    private let tasks = Mutex<[Task<Void, Never>]>([])

    init(_ logs: [BoundedLog], in bag: TaskBag) {
        self.logs = logs
        self.bag = bag
    }

    func start(beside guest: LiveGuest) {
        stop()
        tasks.withLock { $0 = logs.map { log in bag.start { await log.run() } } }
    }

    func stop() {
        let tasks = tasks.withLock { tasks in
            defer { tasks = [] }
            return tasks
        }
        for task in tasks { task.cancel() }
    }
}
