import HostModel
import ServiceManagement

/// Tells the manager, once a second while a guest starts, what it is at and that it needs more time. Ends when the
/// guest is up: an idle agent has no such timer.
struct StartReporter: Sendable {
    let notifier: Notifier
    let log: EventLog
    let deadlines: Deadlines

    /// Seconds between two reports.
    private static let interval = 1

    func run() async {
        while true {
            let phase = log.snapshot.phase
            if phase.isUsable || phase.isFinal || phase == .stopping { return }
            notifier.status("\(phase.rawValue), \(Int(log.elapsed)) s")
            // The agent's own deadline ends a phase that hangs; the manager's must not come first.
            notifier.extendTimeout(seconds: Deadlines.limit(of: phase) + 30)
            guard (try? await Task.sleep(for: .seconds(Self.interval))) != nil else { return }
        }
    }
}
