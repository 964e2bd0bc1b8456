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

    package var status: ManagerStatus {
        let code = values["last exit code"].flatMap { Int32($0.prefix { $0.isNumber }) }
        let failed = code.map { $0 != 0 } ?? false
        let activity: ManagerStatus.Activity =
            switch values["state"] {
            case "running": .active
            case "spawn scheduled": .waiting
            default: failed ? .failed : .inactive
            }
        return ManagerStatus(
            isEnabled: true, isLoaded: true, activity: activity, pid: pid,
            restarts: values["runs"].flatMap { Int($0) }.map { max(0, $0 - 1) },
            lastFailure: failed ? "the agent ended with status \(code ?? 0)" : nil, exitStatus: failed ? code : nil)
    }
}
