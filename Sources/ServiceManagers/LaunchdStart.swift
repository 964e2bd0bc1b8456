import HostModel
import HostOS

/// Loads a job by hand and makes it run now. launchd's refusals of a job that is busy are not final: the job is looked
/// at again until it runs or the time is over.
struct LaunchdStart {
    let launchctl: Launchctl
    let domain: String
    let label: String
    let file: String
    /// Seconds that a job that is being ended may take.
    let patience: Int

    private var target: String { "\(domain)/\(label)" }

    /// The time in seconds for launchd to accept a job that it does not have.
    private static let limit = 20
    /// The time in seconds for `kickstart`. It waits for the throttle, and was reported to block for minutes. launchd
    /// starts the job all the same.
    private static let kickstartLimit = 30

    /// - Throws: `HostError`; with `.notPermitted`, the hint is the command for a person with permission.
    func run() async throws {
        var backoff = Backoff(from: .milliseconds(100), to: .seconds(1), factor: 1.5)
        var deadline = ContinuousClock.now + .seconds(Self.limit)
        while true {
            let job = try await launchctl.printed(target)
            let lines: [[String]]
            switch job?.status.activity {
            case .active, .starting, .waiting: return
            case .stopping:
                try await launchctl.awaitGone(target, within: patience)
                deadline = ContinuousClock.now + .seconds(Self.limit)
                continue
            case .inactive, .failed: lines = [["kickstart", target]]
            // `disable` takes precedence over RunAtLoad and survives reboots. A start by hand always removes it.
            case nil: lines = [["enable", target], ["bootstrap", domain, file]]
            }
            do {
                for line in lines { try await perform(line) }
                return
            } catch let refusal as Launchctl.Refusal {
                if refusal.code == .notPermitted { throw notPermitted(lines) }
                let isOver = ContinuousClock.now >= deadline
                guard refusal.isOfBusyJob || refusal.isOfUnknownJob, !isOver else { throw refusal.error }
            }
            try await backoff.pause()
        }
    }

    private func perform(_ line: [String]) async throws {
        guard line[0] == "kickstart" else { return try await launchctl.run(line) }
        _ = try await withTimeLimit(.seconds(Self.kickstartLimit)) { [launchctl] in try await launchctl.run(line) }
    }

    private func notPermitted(_ lines: [[String]]) -> HostError {
        HostError(
            .notPermitted, "launchd does not let this account start \(label)",
            hint: lines.map { "sudo launchctl " + $0.joined(separator: " ") }.joined(separator: " && "))
    }
}
