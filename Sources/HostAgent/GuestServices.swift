import GuestAccess
import GuestDriver
import HostModel
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
    func start(beside live: LiveGuest)
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

    func start(beside live: LiveGuest) {
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

/// Tells the guest what time it is. A guest does not notice that its host slept, or that somebody set the host's clock.
final class GuestClock: GuestService {
    private let hostClock = HostClock()
    private let log: EventLog
    private let channel = Mutex<(any ChannelToGuest)?>(nil)

    init(log: EventLog) { self.log = log }

    /// Something for each jump of the host's clock.
    var jumps: AsyncStream<Void> { hostClock.jumps }

    /// Looks whether the host slept, where the system does not tell by itself.
    func check() { hostClock.check() }

    func start(beside live: LiveGuest) { channel.withLock { $0 = live.channel } }

    func stop() { channel.withLock { $0 = nil } }

    /// A guest without a channel is not told.
    func tell() {
        guard let channel = channel.withLock({ $0 }) else { return }
        channel.send(.time(HostClock.now))
        log.emit(.guestClockSet(reason: "the host's clock jumped, or the guest stood still"))
    }
}
