import GuestAccess
import GuestDriver
import HostModel
import HostOS
import Synchronization

/// A guest and its channel.
package struct LiveGuest: Sendable {
    package let guest: any Guest
    /// Nil if the guest has no channel, or if the connection to it failed.
    package let channel: (any ChannelToGuest)?

    package init(guest: any Guest, channel: (any ChannelToGuest)?) {
        self.guest = guest
        self.channel = channel
    }
}

/// A service that runs as long as the agent has a guest. It is started when a guest is launched or attached to. It is
/// stopped when the guest ends or is replaced, and can be started again afterwards.
protocol GuestService: Sendable {
    func start(beside live: LiveGuest)
    func stop()
}

/// Prevents the logs of the guest's console and its machine from filling the host's disk.
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

/// Sets the guest's clock. A guest does not notice that its host slept, or that the host's clock was set.
final class GuestClock: GuestService {
    private let hostClock = HostClock()
    private let log: EventLog
    private let channel = Mutex<(any ChannelToGuest)?>(nil)

    init(log: EventLog) { self.log = log }

    /// Yields after each jump of the host's clock.
    var jumps: AsyncStream<Void> { hostClock.jumps }

    /// Checks whether the host slept, on systems that do not report it.
    func check() { hostClock.check() }

    func start(beside live: LiveGuest) { channel.withLock { $0 = live.channel } }

    func stop() { channel.withLock { $0 = nil } }

    /// Sends the host's time to the guest. Does nothing if there is no channel.
    func tell() {
        guard let channel = channel.withLock({ $0 }) else { return }
        channel.send(.time(HostClock.now))
        log.emit(.guestClockSet(reason: "the host's clock jumped, or the guest stood still"))
    }
}
