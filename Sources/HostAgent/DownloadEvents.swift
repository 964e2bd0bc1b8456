import HostModel
import Synchronization

/// Turns the progress of downloads into events of the log: at most one a second while bytes arrive, and every other step.
final class DownloadEvents: Sendable {
    private let log: EventLog
    private let next = Mutex<ContinuousClock.Instant?>(nil)

    init(_ log: EventLog) { self.log = log }

    func take(_ progress: TransferProgress) {
        let isFlow = progress.state == .receiving || progress.state == .followed
        let isDue = next.withLock { next in
            if isFlow, let due = next, ContinuousClock.now < due { return false }
            next = isFlow ? .now + .seconds(1) : nil
            return true
        }
        if isDue { log.emit(.download(progress)) }
    }
}
