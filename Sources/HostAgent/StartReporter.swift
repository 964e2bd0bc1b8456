import HostModel
import ServiceManagers

/// Reports the progress of a start to the manager once a second, and asks it for more time. Ends when the guest is up,
/// so that an idle agent does not have this timer.
struct StartReporter: Sendable {
    let notifier: Notifier
    let log: EventLog
    let deadlines: Deadlines

    /// The time in seconds between two reports.
    private static let interval = 1

    func run() async {
        while true {
            let phase = log.snapshot.phase
            if phase.isUsable || phase.isFinal || phase == .stopping { return }
            notifier.status("\(phase.rawValue), \(Int(log.elapsed)) s")
            // A phase that hangs is ended by the agent's own deadline. The manager's timeout must come later.
            notifier.extendTimeout(seconds: Deadlines.limit(of: phase) + 30)
            guard (try? await Task.sleep(for: .seconds(Self.interval))) != nil else { return }
        }
    }
}
