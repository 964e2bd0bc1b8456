import GuestDriver
import HostModel
import ServiceManagement

/// The one timer of an idle agent: asks the machine whether it lives, and feeds the manager's watchdog when the answer
/// comes. A machine that is silent for a minute is reported as lost before the watchdog (90 s) shoots the agent.
struct Heartbeat: Sendable {
    let notifier: Notifier

    /// Seconds between two questions.
    static let interval = 20
    /// Seconds of silence after which a guest is lost.
    static let lostAfter = 60

    /// - Parameter report: what came, and the seconds of silence before it.
    func run(_ guest: any Guest, report: @Sendable (Lifecycle.Heartbeat, Int) -> Void) async {
        notifier.feedWatchdog()
        var silentSince: ContinuousClock.Instant?
        while (try? await Task.sleep(for: .seconds(silentSince == nil ? Self.interval : 1))) != nil {
            let asked = ContinuousClock.now
            do {
                // The answer is waited for 10 s (QMPConnection).
                try await guest.checkAlive()
                let silence = silentSince.map { $0.duration(to: .now) } ?? .zero
                silentSince = nil
                notifier.feedWatchdog()
                report(.answered, Int(silence.components.seconds))
            } catch {
                if Task.isCancelled { return }
                let since = silentSince ?? asked
                silentSince = since
                let silence = Int(since.duration(to: .now).components.seconds)
                report(silence >= Self.lostAfter ? .lost : .late, silence)
            }
        }
    }
}
