import HostModel
import HostOS

/// launchd, of this account's sessions and of the machine. Builds everywhere; what it calls exists on macOS.
package struct LaunchdManager: ServiceManager {
    private let account: Account
    private let agents: String
    private let daemons: String

    /// - Parameter root: where the machine's own directories begin.
    package init(account: Account, environment: [String: String], root: String = "") {
        self.account = account
        agents = (environment["HOME"] ?? account.home) + "/Library/LaunchAgents"
        daemons = root + "/Library/LaunchDaemons"
    }

    package var kind: ManagerKind { .launchd }
    package var announcesReadiness: Bool { false }

    private var isRoot: Bool { account.uid == 0 }

    // MARK: What is there

    private func file(_ label: String, _ scope: ManagerScope) -> String {
        (scope == .user ? agents : daemons) + "/\(label).plist"
    }

    package func registrations(of instance: InstanceName) -> [FoundRegistration] {
        AutostartCondition.allCases.compactMap { condition in
            let label = ServiceName.launchdLabel(instance, scope: condition.scope)
            let file = file(label, condition.scope)
            guard let text = try? TextFile.bytes(file, limit: 1 << 20) else { return nil }
            let job = LaunchdJob(text: text)
            return FoundRegistration(
                instance: instance, condition: condition, identifier: label, file: file, isOurs: job != nil,
                binary: job?.ProgramArguments.first)
        }
    }

    // MARK: Enabling

    package func enable(_ registration: Registration, takeOver: Bool) async throws -> [String] {
        let scope = registration.condition.scope
        let job = LaunchdJob(registration)
        let file = file(job.Label, scope)
        var notes: [String] = []
        let there = registrations(of: registration.instance)
        if let foreign = there.first(where: { !$0.isOurs && $0.scope == scope }) {
            guard takeOver else { throw foreign.notOurs }
            notes.append("replaced \(foreign.file), which was not made by hostagent")
        }
        if let other = there.first(where: { $0.scope != scope }) { throw other.isThereAlready }
        try await install(try job.text, as: file, scope: scope)
        if scope == .user {
            // It is loaded at the next login; an override that forbids that would outlive everything.
            try await launchctl("enable", [try await target(job.Label, scope)], accepting: [])
        } else {
            try await awaitGone("system/\(job.Label)", within: job.ExitTimeOut)
            try await launchctl("bootstrap", ["system", file], privileged: true, accepting: [.loaded])
        }
        return notes
    }

    private func install(_ text: String, as file: String, scope: ManagerScope) async throws {
        if scope == .user || isRoot {
            do {
                try Files.makeDirectory(scope == .user ? agents : daemons)
                try TextFile.replace(file, with: text, mode: 0o644)
                try Files.setMode(file, 0o644)
            } catch {
                throw HostError(.cannotCreate, "cannot write \(file): \(error)")
            }
            return
        }
        let arguments = ["install", "-m", "0644", "-o", "root", "/dev/stdin", file]
        let result = try await Tool("sudo", arguments).with(input: text).run()
        guard result.succeeded else {
            throw HostError(.notPermitted, "sudo did not put \(file) there: \(result.complaint)")
        }
    }

    // MARK: Disabling

    package func disable(_ found: FoundRegistration) async throws {
        guard found.isOurs else { throw found.notOurs }
        try await bootOut(found)
        if found.scope == .user || isRoot {
            do {
                try Files.remove(found.file)
            } catch {
                throw HostError(.notPermitted, "cannot remove \(found.file): \(error.reason)")
            }
            return
        }
        let result = try await Tool("sudo", ["rm", "-f", found.file]).run()
        guard result.succeeded else {
            throw HostError(.notPermitted, "sudo did not remove \(found.file): \(result.complaint)")
        }
    }

    // MARK: Starting and stopping

    package func start(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        if let state = try await printed(target) {
            if state.pid != nil { return }
            try await launchctl("kickstart", [target], accepting: [])
            return
        }
        // `disable` beats RunAtLoad and outlives reboots: whatever set it, a start by hand is meant.
        try await launchctl("enable", [target], accepting: [])
        let domain = String(target.dropLast(found.identifier.count + 1))
        try await launchctl("bootstrap", [domain, found.file], accepting: [.loaded])
    }

    package func stop(_ found: FoundRegistration) async throws { try await bootOut(found) }

    /// `bootout` returns before the job is gone, so it is asked for until launchd does not know it any more.
    private func bootOut(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        guard try await printed(target) != nil else { return }
        try await launchctl(
            "bootout", [target], privileged: found.scope == .system, accepting: [.inProgress, .notLoaded])
        let job = (try? TextFile.bytes(found.file, limit: 1 << 20)).flatMap(LaunchdJob.init(text:))
        try await awaitGone(target, within: job?.ExitTimeOut ?? 120)
    }

    private func awaitGone(_ target: String, within seconds: Int) async throws {
        var wait = Duration.milliseconds(50)
        let deadline = ContinuousClock.now + .seconds(seconds + 10)
        while try await printed(target) != nil {
            guard ContinuousClock.now < deadline else {
                throw HostError(
                    .failed, "launchd still has \(target), \(seconds + 10) s after it was told to let it go",
                    hint: "launchctl print \(target) says what it is doing")
            }
            try await Task.sleep(for: wait)
            wait = min(wait * 3 / 2, .seconds(1))
        }
    }

    // MARK: Asking

    package func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus] {
        try await withThrowingTaskGroup(of: (Int, ManagerStatus).self) { group in
            for (index, found) in registrations.enumerated() {
                group.addTask {
                    let state = try await printed(try await target(found.identifier, found.scope))
                    return (
                        index, state?.status ?? ManagerStatus(isEnabled: true, isLoaded: false, activity: .inactive)
                    )
                }
            }
            var statuses = registrations.map { _ in
                ManagerStatus(isEnabled: true, isLoaded: false, activity: .inactive)
            }
            for try await (index, status) in group { statuses[index] = status }
            return statuses
        }
    }

    package func lastWords(of registration: FoundRegistration) async -> [String] {
        // Its standard error goes to a file of the instance.
        guard let bytes = try? TextFile.bytes(registration.file, limit: 1 << 20), let job = LaunchdJob(text: bytes)
        else { return [] }
        return TextFile.tail(job.StandardErrorPath, count: 4096).split(separator: "\n").suffix(6).map(String.init)
    }

    package func diagnose(_ registrations: [FoundRegistration]) async -> [HostFinding] {
        let hasScreen = (try? await printed("gui/\(account.uid)")) ?? nil
        let domain =
            hasScreen != nil
            ? HostFinding("graphical login", .ok, "gui/\(account.uid)")
            : HostFinding(
                "graphical login", .warning, "there is no gui/\(account.uid), as over SSH; user/\(account.uid) is used",
                fix: "log in at the screen, or register with --condition=boot")
        return [domain] + registrations.compactMap(SystemdManager.staleness)
    }

    // MARK: launchctl

    /// The service target of a label: in the domain that knows it, else in the one it would be loaded into. `gui/UID`
    /// needs a graphical login, `user/UID` exists after any.
    private func target(_ label: String, _ scope: ManagerScope) async throws -> String {
        if scope == .system { return "system/\(label)" }
        for domain in ["gui/\(account.uid)", "user/\(account.uid)"] where try await printed("\(domain)/\(label)") != nil
        {
            return "\(domain)/\(label)"
        }
        let domain = try await printed("gui/\(account.uid)") != nil ? "gui" : "user"
        return "\(domain)/\(account.uid)/\(label)"
    }

    /// What `launchctl print` says of a target; nil when launchd does not know it.
    private func printed(_ target: String) async throws -> LaunchdPrint? {
        let result = try await Tool("launchctl", ["print", target]).run()
        if result.succeeded { return LaunchdPrint(result.output) }
        let code = LaunchdCode(rawValue: result.status)
        if [.notLoaded, .unknownService, .noSuchDomain, .noDomainSupport].contains(code) { return nil }
        throw failure(result, "print", [target])
    }

    private func launchctl(
        _ verb: String, _ arguments: [String], privileged: Bool = false, accepting accepted: Set<LaunchdCode>
    ) async throws {
        let tool =
            privileged && !isRoot
            ? Tool("sudo", ["launchctl", verb] + arguments) : Tool("launchctl", [verb] + arguments)
        let result = try await tool.run()
        if result.succeeded || LaunchdCode(rawValue: result.status).map(accepted.contains) == true { return }
        throw failure(result, verb, arguments)
    }

    private func failure(_ result: Tool.Result, _ verb: String, _ arguments: [String]) -> HostError {
        let line = "launchctl \(verb) \(arguments.joined(separator: " "))"
        guard let code = LaunchdCode(rawValue: result.status) else {
            return HostError(.failed, "\(line): \(result.complaint)")
        }
        return HostError(
            code == .notPermitted ? .notPermitted : .failed, "\(line): \(code.meaning)", hint: code.hint(for: line))
    }
}

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
