import HostModel
import HostOS

/// The codes of launchctl that are known from reports (`launchctl error CODE` names some).
package enum LaunchdCode: Int32, CaseIterable, Sendable {
    case notPermitted = 1
    case notLoaded = 3
    case inputOutput = 5
    case inProgress = 36
    case loaded = 37
    case noSuchDomain = 112
    case unknownService = 113
    case disabled = 119
    case noDomainSupport = 125

    package var meaning: String {
        switch self {
        case .notPermitted: "launchd does not permit it"
        case .notLoaded, .unknownService: "launchd has no such job"
        case .inputOutput: "launchd refuses: the job is being ended, is loaded already, or is disabled"
        case .inProgress: "the job is being ended"
        case .loaded: "the job is loaded already, or is just being ended"
        case .noSuchDomain, .noDomainSupport: "there is no such domain: nobody is logged in there"
        case .disabled: "the job is disabled by an override"
        }
    }

    func hint(for line: String) -> String? {
        switch self {
        case .notPermitted: "sudo \(line)"
        case .inputOutput, .loaded: "wait until launchctl print does not know the job any more, then try again"
        case .noSuchDomain, .noDomainSupport: "log in at the screen, or register with --condition=boot"
        case .disabled: "launchctl enable removes the override"
        default: nil
        }
    }
}

/// What `launchctl print` says of a job: `key = value` lines.
package struct LaunchdPrint: Sendable, Equatable {
    private var values: [String: String] = [:]

    package init(_ text: String) {
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let key = String(parts[0]).trimmed
            // Nested blocks repeat keys; the job's own come first.
            if values[key] == nil { values[key] = String(parts[1]).trimmed }
        }
    }

    /// The labels that `launchctl print-disabled` shows as such: `"label" => disabled`, `=> true` in older versions.
    package static func disabledLabels(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
            guard parts.count == 3, ["=> disabled", "=> true"].contains(String(parts[2]).trimmed) else { return nil }
            return String(parts[1])
        }
    }

    package var pid: Int32? { values["pid"].flatMap { Int32($0) } }

    /// Runs of a job that waits for its next one after which it is called a crash loop.
    private static let crashLoop = 10

    package var status: ManagerStatus {
        let exitStatus = values["last exit code"].flatMap { Int32($0.prefix { $0.isNumber }) }
        // A job that a signal ended shows that in the place of its exit code; so does one that the kernel killed.
        let signal = values["last terminating signal"].map { "the agent was ended by \($0)" }
        let reason = values["last exit reason"].flatMap {
            $0.hasPrefix("OS_REASON_") ? "the system ended the agent: \($0)" : nil
        }
        let failedStatus = exitStatus.flatMap { $0 != 0 ? $0 : nil }
        var failure = signal ?? reason ?? failedStatus.map { "the agent ended with status \($0)" }
        let runs = values["runs"].flatMap { Int($0) }
        if activity == .waiting, let runs, runs > Self.crashLoop {
            failure = "it is started and ends again and again (\(runs) times)" + (failure.map { "; \($0)" } ?? "")
        }
        let isDown = activity == .inactive
        return ManagerStatus(
            isEnabled: true, isLoaded: true, activity: isDown && failure != nil ? .failed : activity, pid: pid,
            restarts: runs.map { max(0, $0 - 1) }, lastFailure: failure, exitStatus: failedStatus)
    }

    /// A job that has a process is not down, whatever the word says: a job that is being ended prints `SIGTERMed` with its
    /// pid, and one that is being started `spawning` or `xpcproxy`.
    private var activity: ManagerStatus.Activity {
        switch values["state"] {
        case "running": .active
        case "spawn scheduled": .waiting
        case "spawning", "xpcproxy": .starting
        case "SIGTERMed", "SIGKILLed": .stopping
        default: pid == nil ? .inactive : .active
        }
    }

    /// It is on its way down: a `bootstrap` now would come too soon.
    package var isDraining: Bool { activity == .stopping }
}
