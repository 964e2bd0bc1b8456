import HostModel
import HostOS

/// launchd, both of this account's sessions and of the machine. It builds on every platform, but the tools that it
/// calls only exist on macOS.
package struct LaunchdManager: ServiceManager {
    private let account: Account
    private let agents: String
    private let daemons: String

    /// - Parameter root: the prefix of the machine's own directories.
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
                binary: job?.ProgramArguments.first, limaHome: job?.EnvironmentVariables["LIMA_HOME"],
                owner: condition.scope == .system ? job?.UserName ?? "root" : nil, terms: job?.terms)
        }
    }

    package func registrations() -> [FoundRegistration] {
        let names = [agents, daemons].flatMap { (try? Files.names(in: $0)) ?? [] }
        return Set(names.compactMap(ServiceName.instance(ofPropertyList:))).sorted().flatMap(registrations(of:))
    }

    // MARK: Enabling

    package func enable(_ registration: Registration, takeOver: Bool) async throws -> [String] {
        let scope = registration.scope
        let job = LaunchdJob(registration)
        let file = file(job.Label, scope)
        let foreign = try check(registration, takeOver: takeOver)
        // We may not end a registration in another file, and it would start the instance a second time.
        if let other = foreign.first(where: { $0.file != file }) { throw other.isInTheWay }
        let target = try await target(job.Label, scope)
        var state = try await printed(target)
        if let draining = state, draining.isDraining {
            try await awaitGone(target, within: job.ExitTimeOut)
            state = nil
        }
        let before = try? TextFile.read(file, limit: 1 << 20)
        try await install(try job.text, as: file, scope: scope)
        do {
            try await load(job.Label, file, scope, state)
        } catch {
            if let before {
                try? await install(before, as: file, scope: scope)
            } else {
                try? await remove(file, scope: scope)
            }
            throw error
        }
        var notes = foreign.map { "replaced \($0.file), which was not made for this instance by hostagent" }
        if state?.pid != nil {
            notes.append("it runs as it was registered before; what is new counts from its next start")
        } else if scope == .system {
            notes.append("launchd starts what it loads: it is being started now")
        }
        return notes
    }

    /// Makes launchd load a property list: an agent's at the next login, a daemon's now and at every boot. An override
    /// that disables the job is removed, because nothing else removes it. A loaded job that does not run is also
    /// removed, because launchd would start it with its old settings.
    private func load(_ label: String, _ file: String, _ scope: ManagerScope, _ state: LaunchdPrint?) async throws {
        let isIdle = state != nil && state?.pid == nil
        if scope == .user {
            let target = try await target(label, scope)
            try await launchctl(["enable", target], accepting: [])
            if isIdle { try await bootOut(target, asRoot: false, within: 1) }
            return
        }
        var script = #"launchctl enable "system/$1""#
        if isIdle { script += #"; launchctl bootout "system/$1""# }
        if state?.pid == nil { script += #"; exec launchctl bootstrap system "$2""# }
        let result = try await privileged("sh", ["-c", script, "sh", label, file]).run()
        // It is also a success if the daemon was loaded in the meantime.
        if result.succeeded || LaunchdCode(rawValue: result.status) == .loaded { return }
        if result.complaint.hasPrefix("sudo:") {
            throw HostError(.notPermitted, "sudo did not have launchd load \(file): \(result.complaint)")
        }
        throw failure(result, "bootstrap", ["system", file])
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
        let result = try await PrivilegedFile.put(file, privileged).with(input: text).run()
        guard result.succeeded else {
            throw HostError(.notPermitted, "sudo did not put \(file) there: \(result.complaint)")
        }
    }

    // MARK: Disabling

    package func disable(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        let isLoaded = try await printed(target) != nil
        // `enable` removes any override, so that none is left behind.
        if found.scope == .user {
            try await launchctl(["enable", target], accepting: [])
            if isLoaded { try await bootOut(target, asRoot: false, within: exitTimeOut(found)) }
        } else {
            let script = #"launchctl enable "$1""# + (isLoaded ? #"; exec launchctl bootout "$1""# : "")
            let result = try await privileged("sh", ["-c", script, "sh", target]).run()
            let code = LaunchdCode(rawValue: result.status)
            guard result.succeeded || code == .inProgress || code == .notLoaded else {
                throw result.complaint.hasPrefix("sudo:")
                    ? HostError(.notPermitted, "sudo did not have launchd let \(target) go: \(result.complaint)")
                    : failure(result, "bootout", [target])
            }
            try await awaitGone(target, within: exitTimeOut(found))
        }
        try await remove(found.file, scope: found.scope)
    }

    private func remove(_ file: String, scope: ManagerScope) async throws {
        if scope == .user || isRoot {
            do {
                try Files.remove(file)
            } catch {
                throw HostError(.notPermitted, "cannot remove \(file): \(error.reason)")
            }
            return
        }
        let result = try await privileged("rm", ["-f", file]).run()
        guard result.succeeded else {
            throw HostError(.notPermitted, "sudo did not remove \(file): \(result.complaint)")
        }
    }

    // MARK: Starting and stopping

    package func start(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        let domain = String(target.dropLast(found.identifier.count + 1))
        var state = try await printed(target)
        if let draining = state, draining.isDraining {
            try await awaitGone(target, within: exitTimeOut(found))
            state = nil
        }
        if state?.pid != nil { return }
        // `disable` takes precedence over RunAtLoad and survives reboots. A start by hand always removes it.
        let lines =
            state == nil
            ? [["enable", target], ["bootstrap", domain, found.file]] : [["kickstart", target]]
        do {
            for line in lines { try await launchctl(line, accepting: [.loaded]) }
        } catch let error as HostError where error.code == .notPermitted {
            throw HostError(
                .notPermitted, "launchd does not let \(account.name) start \(found.identifier)",
                hint: lines.map { "sudo launchctl " + $0.joined(separator: " ") }.joined(separator: " && "))
        }
    }

    package func requirePermission(toRestart found: FoundRegistration) async throws {
        guard found.scope == .system, !isRoot else { return }
        throw HostError(
            .notPermitted, "launchd does not let \(account.name) restart \(found.identifier)",
            hint: "sudo launchctl kickstart -k system/\(found.identifier)")
    }

    package func startCommand(_ registration: Registration) -> String { "hostagent start \(registration.instance)" }

    package func beginStop(_ found: FoundRegistration) async throws {
        try await launchctl(
            ["bootout", try await target(found.identifier, found.scope)], accepting: [.inProgress, .notLoaded])
    }

    package func stop(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        guard try await printed(target) != nil else { return }
        try await bootOut(target, asRoot: false, within: exitTimeOut(found))
    }

    /// `bootout` returns before the job is gone, so this waits until launchd no longer knows the job.
    private func bootOut(_ target: String, asRoot: Bool, within seconds: Int) async throws {
        try await launchctl(["bootout", target], asRoot: asRoot, accepting: [.inProgress, .notLoaded])
        try await awaitGone(target, within: seconds)
    }

    /// Seconds that launchd gives a job to end.
    private func exitTimeOut(_ found: FoundRegistration) -> Int {
        (try? TextFile.bytes(found.file, limit: 1 << 20)).flatMap(LaunchdJob.init(text:))?.ExitTimeOut ?? 120
    }

    private func awaitGone(_ target: String, within seconds: Int) async throws {
        var backoff = Backoff(from: .milliseconds(50), to: .seconds(1), factor: 1.5)
        let deadline = ContinuousClock.now + .seconds(seconds + 10)
        while try await printed(target) != nil {
            guard ContinuousClock.now < deadline else {
                throw HostError(
                    .failed, "launchd still has \(target), \(seconds + 10) s after it was told to let it go",
                    hint: "launchctl print \(target) says what it is doing")
            }
            try await backoff.pause()
        }
    }

    // MARK: Asking

    package func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus] {
        let overrides = try await disabledTargets(registrations)
        return try await withThrowingTaskGroup(of: (Int, ManagerStatus).self) { group in
            for (index, found) in registrations.enumerated() {
                group.addTask {
                    let target = try await target(found.identifier, found.scope)
                    let none = ManagerStatus(isEnabled: true, isLoaded: false, activity: .inactive)
                    var status = try await printed(target)?.status ?? none
                    status.isEnabled = !overrides.contains(target)
                    return (index, status)
                }
            }
            var statuses = registrations.map { _ in
                ManagerStatus(isEnabled: true, isLoaded: false, activity: .inactive)
            }
            for try await (index, status) in group { statuses[index] = status }
            return statuses
        }
    }

    /// The targets that overrides disable in the domains of these registrations.
    private func disabledTargets(_ registrations: [FoundRegistration]) async throws -> Set<String> {
        var domains: Set<String> = []
        for found in registrations {
            domains.insert(String(try await target(found.identifier, found.scope).dropLast(found.identifier.count + 1)))
        }
        var targets: Set<String> = []
        for domain in domains {
            let result = try await Tool("launchctl", ["print-disabled", domain]).run()
            guard result.succeeded else { continue }
            targets.formUnion(LaunchdPrint.disabledLabels(result.output).map { "\(domain)/\($0)" })
        }
        return targets
    }

    package func lastWords(of registration: FoundRegistration) async -> [String] {
        // The agent's standard error goes to a file of the instance.
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

    /// The service target of a label, in the domain that knows it. If none does, the target is in the domain that the
    /// job would be loaded into. `gui/UID` needs a graphical login; `user/UID` exists after any login.
    private func target(_ label: String, _ scope: ManagerScope) async throws -> String {
        if scope == .system { return "system/\(label)" }
        for domain in ["gui/\(account.uid)", "user/\(account.uid)"] where try await printed("\(domain)/\(label)") != nil
        {
            return "\(domain)/\(label)"
        }
        let domain = try await printed("gui/\(account.uid)") != nil ? "gui" : "user"
        return "\(domain)/\(account.uid)/\(label)"
    }

    /// The output of `launchctl print` for a target; nil if launchd does not know it.
    private func printed(_ target: String) async throws -> LaunchdPrint? {
        let result = try await Tool("launchctl", ["print", target]).run()
        if result.succeeded { return LaunchdPrint(result.output) }
        let code = LaunchdCode(rawValue: result.status)
        if [.notLoaded, .unknownService, .noSuchDomain, .noDomainSupport].contains(code) { return nil }
        throw failure(result, "print", [target])
    }

    private func launchctl(_ line: [String], asRoot: Bool = false, accepting accepted: Set<LaunchdCode>) async throws {
        let result = try await (asRoot ? privileged("launchctl", line) : Tool("launchctl", line)).run()
        if result.succeeded || LaunchdCode(rawValue: result.status).map(accepted.contains) == true { return }
        throw failure(result, line[0], Array(line.dropFirst()))
    }

    /// A program that runs as root, through sudo if we are not root.
    private func privileged(_ program: String, _ arguments: [String]) -> Tool {
        isRoot ? Tool(program, arguments) : Tool("sudo", [program] + arguments)
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
