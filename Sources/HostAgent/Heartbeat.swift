import GuestDriver
import HostModel
import NIOCore
import ServiceManagement
import Synchronization

/// The one timer of an idle agent: asks the machine whether it lives, and feeds the manager's watchdog when the answer
/// comes. A machine that is silent for a minute is reported as lost before the watchdog (90 s) shoots the agent.
///
/// Its task runs on the event loop that serves the monitor: a beat that hops between threads wakes each of them.
final class Heartbeat: GuestService {
    /// What changed, and the seconds since the last answer.
    typealias Report = @Sendable (Lifecycle.Heartbeat, Int) -> Void

    private let notifier: Notifier
    private let executor = EventLoopExecutor()
    private let bag: TaskBag
    private let atEveryBeat: @Sendable () -> Void
    private let report: Report
    private let alarm = Alarm()
    private let task = Mutex<Task<Void, Never>?>(nil)

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
        task.withLock { task in
            guard task == nil else { return }
            task = bag.start(on: executor) { [self] in await run(live.guest) }
        }
    }

    func stop() {
        task.withLock { task in
            task?.cancel()
            task = nil
        }
    }

    private func run(_ guest: any Guest) async {
        notifier.feedWatchdog()
        var lastAnswer = NIODeadline.now()
        var isTroubled = false
        while await sleep(.seconds(isTroubled ? 1 : Int64(Self.interval))) {
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
                    report(.stalled(reason: stall), silence)
                } else if wasTroubled {
                    report(.answered, silence)
                }
            } catch {
                if Task.isCancelled { return }
                isTroubled = true
                let silence = (NIODeadline.now() - lastAnswer).wholeSeconds
                report(silence >= Self.lostAfter ? .lost : .late, silence)
            }
        }
    }

    /// Beats now: something has happened that is looked after at every beat.
    func hasten() { alarm.ring() }

    /// False when the task was cancelled meanwhile.
    private func sleep(_ time: TimeAmount) async -> Bool {
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

    /// The moment that is slept until. One that rings while nobody sleeps is not forgotten.
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
