import GuestDriver
import HostModel
import HostOS
import NIOCore
import ServiceManagers
import Synchronization

/// The only timer of an idle agent. It checks whether the machine is alive, and feeds the manager's watchdog when the
/// machine answers. A machine that is silent for a minute is reported as lost before the watchdog (90 s) kills the
/// agent.
///
/// Its task runs on the event loop that serves the monitor, because switching between threads would wake each of them.
final class Heartbeat: GuestService {
    /// Receives what changed, the seconds since the last answer, and the guest's process.
    typealias Report = @Sendable (Lifecycle.HeartbeatResult, Int, ProcessIdentity) -> Void

    private let notifier: Notifier
    private let executor = EventLoopExecutor()
    private let bag: TaskBag
    private let atEveryBeat: @Sendable () -> Void
    private let report: Report
    private let current = Mutex<(alarm: Alarm, task: Task<Void, Never>)?>(nil)

    /// The time in seconds between two checks.
    static let interval = 20
    /// The time in seconds since the last answer after which a guest is lost.
    static let lostAfter = 60

    init(
        notifier: Notifier, in bag: TaskBag, atEveryBeat: @escaping @Sendable () -> Void, report: @escaping Report
    ) {
        self.notifier = notifier
        self.bag = bag
        self.atEveryBeat = atEveryBeat
        self.report = report
    }

    /// Starts the heartbeat. Does nothing if it is already running.
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
                // This waits at most 10 s for the answer (QMPConnection).
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

    /// Runs the next check now.
    func hasten() { current.withLock { $0?.alarm }?.ring() }

    /// - Returns: false if the task was cancelled meanwhile.
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

    /// The end of the heartbeat's sleep. If it rings between two sleeps, the next sleep is skipped.
    private final class Alarm: Sendable {
        private struct State {
            var sleeper: Scheduled<Void>?
            var hasRung = false
        }

        private let state = Mutex(State())

        /// - Returns: nil if the alarm has already rung.
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
