import HostModel
import HostOS

/// Exit codes of launchctl, known from reports. `launchctl error CODE` describes some of them.
package enum LaunchdCode: Int32, CaseIterable, Sendable {
    case notPermitted = 1
    case notLoaded = 3
    case inputOutput = 5
    case inProgress = 36
    case loaded = 37
    case noSuchDomain = 112
    case unknownService = 113
    case unnamed114 = 114
    case disabled = 119
    case badOwnership = 122
    case noDomainSupport = 125
    case wrongSession = 134
    case unnamed155 = 155

    package var meaning: String {
        switch self {
        case .notPermitted: "launchd does not permit it"
        case .notLoaded, .unknownService: "launchd has no such job"
        case .inputOutput: "launchd refuses: the job is being ended, is loaded already, or is disabled"
        case .inProgress: "the job is being ended"
        case .loaded: "the job is loaded already, or is just being ended"
        case .noSuchDomain, .noDomainSupport: "there is no such domain: nobody is logged in there"
        case .disabled: "the job is disabled by an override"
        case .badOwnership: "launchd does not accept the owner or the mode of the property list"
        case .wrongSession: "the job cannot be loaded in this kind of session"
        case .unnamed114, .unnamed155: "launchd refuses with the code \(rawValue)"
        }
    }

    func hint(for line: String) -> String? {
        switch self {
        case .notPermitted: "sudo \(line)"
        case .inputOutput, .loaded: "wait until launchctl print does not know the job any more, then try again"
        case .noSuchDomain, .noDomainSupport, .wrongSession: "log in at the screen, or register with --condition=boot"
        case .disabled: "launchctl enable removes the override"
        case .badOwnership: "it belongs to its account, or to root for a daemon, and only the owner may write it"
        case .unnamed114, .unnamed155: "launchctl error \(rawValue) describes the code"
        default: nil
        }
    }
}

/// The output of `launchctl print` for a job: lines of `key = value`.
package struct LaunchdPrint: Sendable, Equatable {
    private var values: [String: String] = [:]

    package init(_ text: String) {
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let key = String(parts[0]).trimmed
            // Nested blocks repeat keys. The job's own values come first.
            if values[key] == nil { values[key] = String(parts[1]).trimmed }
        }
    }

    /// The labels that `launchctl print-disabled` shows as disabled: `"label" => disabled`, or `=> true` in older
    /// versions.
    package static func disabledLabels(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
            guard parts.count == 3, ["=> disabled", "=> true"].contains(String(parts[2]).trimmed) else { return nil }
            return String(parts[1])
        }
    }

    package var pid: Int32? { values["pid"].flatMap { Int32($0) } }

    /// How often the job was started since it was loaded; nil if this launchd does not say.
    private var runs: Int? { values["runs"].flatMap { Int($0) } }

    /// A job that waits for its next run after more runs than this is reported as a crash loop.
    private static let crashLoop = 10

    package var status: ManagerStatus {
        let exitStatus = values["last exit code"].flatMap { Int32($0.prefix { $0.isNumber }) }
        // For a job that was ended by a signal or killed by the kernel, launchd prints that instead of an exit code.
        let signal = values["last terminating signal"].map { "the agent was ended by \($0)" }
        let reason = values["last exit reason"].flatMap {
            $0.hasPrefix("OS_REASON_") ? "the system ended the agent: \($0)" : nil
        }
        let failedStatus = exitStatus.flatMap { $0 != 0 ? $0 : nil }
        var failure = signal ?? reason ?? failedStatus.map { "the agent ended with status \($0)" }
        if activity == .waiting, let runs, runs > Self.crashLoop {
            failure = "it is started and ends again and again (\(runs) times)" + (failure.map { "; \($0)" } ?? "")
        }
        let isDown = activity == .inactive
        return ManagerStatus(
            isEnabled: true, isLoaded: true, activity: isDown && failure != nil ? .failed : activity, pid: pid,
            restarts: runs.map { max(0, $0 - 1) }, runs: runs, lastFailure: failure, exitStatus: failedStatus)
    }

    /// What the job is doing. A job that has a process is not down, whatever its state is called. A job that is being
    /// ended has the state `SIGTERMed` and a pid. One that is being started has the state `spawning` or `xpcproxy`.
    private var activity: ManagerStatus.Activity {
        switch values["state"] {
        case "running": .active
        case "spawn scheduled": .waiting
        case "spawning", "xpcproxy": .starting
        case "SIGTERMed", "SIGKILLed": .stopping
        default: pid == nil ? .inactive : .active
        }
    }

    /// Whether the job is being ended. It is too early for a `bootstrap` then.
    package var isDraining: Bool { activity == .stopping }
}
