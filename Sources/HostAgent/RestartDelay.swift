import Foundation
import HostModel
import InstanceStore

/// Delays the launch after recent failures, if a manager restarts the agent. The delay grows with each failure, and too
/// many failures end the attempts. An agent that a person started launches at once.
package struct RestartDelay: Sendable {
    private let directory: InstanceDirectory
    private let isKeptAlive: Bool

    package init(directory: InstanceDirectory, isKeptAlive: Bool) {
        self.directory = directory
        self.isKeptAlive = isKeptAlive
    }

    /// Waits as long as the recent failures require, and emits an event about it.
    /// - Throws: `HostError` with `.exhausted` after too many failures; `CancellationError`.
    func wait(_ log: EventLog) async throws {
        guard isKeptAlive else { return }
        var history = RestartHistory.load(directory)
        let now = Date().timeIntervalSince1970
        let story = "it failed \(history.recent(at: now)) times within \(Int(RestartHistory.window / 60)) minutes"
        let last = history.reason.map { ", the last time: \($0)" } ?? ""
        switch history.verdict(at: now) {
        case .launch(after: 0): return
        case .launch(let seconds):
            history.nextTry = now + seconds
            try? history.save(directory)
            log.emit(.warning("\(story)\(last); the next try is in \(Int(seconds)) s"))
            try await Task.sleep(for: .seconds(seconds))
            history.nextTry = nil
            try? history.save(directory)
        case .giveUp:
            // A later start by hand begins without old failures.
            RestartHistory.forget(directory)
            throw HostError(.exhausted, "gave up: \(story)\(last)")
        }
    }

    /// Records the run's outcome for the next run.
    func remember(_ outcome: Outcome, status: HostExitStatus, log: EventLog) {
        guard isKeptAlive, case .failure = status, let reason = outcome.failure else {
            if outcome.failure == nil { RestartHistory.forget(directory) }
            return
        }
        var history = RestartHistory.load(directory)
        history.add(failureAt: Date().timeIntervalSince1970, reason: reason)
        do {
            try history.save(directory)
        } catch {
            log.emit(.warning("cannot write \(directory.restartHistory): \(error)"))
        }
    }
}
