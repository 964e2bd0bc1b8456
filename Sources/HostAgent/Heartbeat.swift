import GuestDriver
import HostModel
import HostOS
import NIOCore
import ServiceManagement
import Synchronization

/// The one timer of an idle agent: asks the machine whether it lives, and feeds the manager's watchdog when the answer
/// comes. A machine that is silent for a minute is reported as lost before the watchdog (90 s) shoots the agent.
///
/// Its task runs on the event loop that serves the monitor: a beat that hops between threads wakes each of them.
final class Heartbeat: GuestService {
    /// What changed, the seconds since the last answer, and the guest's process.
    typealias Report = @Sendable (Lifecycle.HeartbeatResult, Int, ProcessIdentity) -> Void

    private let notifier: Notifier
    private let executor = EventLoopExecutor()
    private let bag: TaskBag
    private let atEveryBeat: @Sendable () -> Void
    private let report: Report
    private let current = Mutex<(alarm: Alarm, task: Task<Void, Never>)?>(nil)

    /// Seconds between two questions.
    static let interval = 20
    /// Seconds since its last answer after which a guest is lost.
    static let lostAfter = 60

    init(
        notifier: Notifier, in bag: TaskBag, atEveryBeat: @escaping @Sendable () -> Void, report: @escaping Report
    ) {
        self.notifier = notifier
        self.bag = bag
        self.atEveryBeat = atEveryBeat
        self.report = report
    }

    /// Begins to beat; does nothing where it does already.
    func start(beside live: LiveGuest) {
        current.withLock { current in
            guard current == nil else { return }
            let alarm = Alarm()
            current = (alarm, bag.start(on: executor) { [self] in await run(live.guest, alarm) })
        }
    }

    func stop() {
        current.withLock { current in
            current?.task.cancel()
            current = nil
        }
    }

    private func run(_ guest: any Guest, _ alarm: Alarm) async {
        let process = guest.record.process
        notifier.feedWatchdog()
        var lastAnswer = NIODeadline.now()
        var isTroubled = false
        while await sleep(.seconds(isTroubled ? 1 : Int64(Self.interval)), alarm) {
            atEveryBeat()
            do {
                // The answer is waited for 10 s (QMPConnection).
                let stall = try await guest.checkAlive()
                let silence = (NIODeadline.now() - lastAnswer).wholeSeconds
                lastAnswer = .now()
                notifier.feedWatchdog()
                let wasTroubled = isTroubled
                isTroubled = stall != nil
                if let stall {
                    report(.stalled(reason: stall), silence, process)
                } else if wasTroubled {
                    report(.answered, silence, process)
                }
            } catch {
                if Task.isCancelled { return }
                isTroubled = true
                let silence = (NIODeadline.now() - lastAnswer).wholeSeconds
                report(silence >= Self.lostAfter ? .lost : .late, silence, process)
            }
        }
    }

    /// Beats now: something has happened that is looked after at every beat.
    func hasten() { current.withLock { $0?.alarm }?.ring() }

    /// False when the task was cancelled meanwhile.
    private func sleep(_ time: TimeAmount, _ alarm: Alarm) async -> Bool {
        guard let scheduled = alarm.set({ executor.loop.scheduleTask(in: time) {} }) else { return !Task.isCancelled }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                scheduled.futureResult.whenComplete { _ in continuation.resume() }
            }
        } onCancel: {
            scheduled.cancel()
        }
        alarm.wake()
        return !Task.isCancelled
    }

    /// The moment until which the heartbeat sleeps. A ring that comes between two sleeps ends the next one at once.
    private final class Alarm: Sendable {
        private struct State {
            var sleeper: Scheduled<Void>?
            var hasRung = false
        }

        private let state = Mutex(State())

        /// - Returns: nil when it has rung already.
        func set(_ schedule: () -> Scheduled<Void>) -> Scheduled<Void>? {
            state.withLock { state in
                state.sleeper = state.hasRung ? nil : schedule()
                state.hasRung = false
                return state.sleeper
            }
        }

        func wake() { state.withLock { $0.sleeper = nil } }

        func ring() {
            let sleeper = state.withLock { state in
                state.hasRung = state.sleeper == nil
                return state.sleeper
            }
            sleeper?.cancel()
        }
    }
}

extension TimeAmount {
    fileprivate var wholeSeconds: Int { Int(nanoseconds / 1_000_000_000) }
}
