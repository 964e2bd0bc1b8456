import Foundation
import HostModel
import InstanceStore

/// The wait of an agent that its manager starts again: it grows with each failure before the next launch,
/// and an end of it. An agent that a person started tries at once.
package struct RestartDelay: Sendable {
    private let directory: InstanceDirectory
    private let isKeptAlive: Bool

    package init(directory: InstanceDirectory, isKeptAlive: Bool) {
        self.directory = directory
        self.isKeptAlive = isKeptAlive
    }

    /// Waits, visibly, as long as the recent failures say.
    /// - Throws: `HostError` with `.exhausted` when there were too many; `CancellationError`.
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
            // Whoever starts it by hand begins anew.
            RestartHistory.forget(directory)
            throw HostError(.exhausted, "gave up: \(story)\(last)")
        }
    }

    /// Keeps what the next run has to know of this one.
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
