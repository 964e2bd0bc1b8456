import HostModel
import HostOS

/// launchd, both of this account's sessions and of the machine. It builds on every platform, but the tools that it
/// calls only exist on macOS.
package struct LaunchdManager: ServiceManager {
    private let account: Account
    private let agents: String
    private let daemons: String
    private let launchctl = Launchctl()

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

    package func files(of registration: Registration) throws -> [(path: String, text: String)] {
        let job = LaunchdJob(registration)
        return [(path: file(job.Label, registration.scope), text: try job.text)]
    }

    package func enable(_ registration: Registration, takeOver: Bool) async throws -> [String] {
        let scope = registration.scope
        let job = LaunchdJob(registration)
        let file = file(job.Label, scope)
        let foreign = try check(registration, takeOver: takeOver)
        // We may not end a registration in another file, and it would start the instance a second time.
        if let other = foreign.first(where: { $0.file != file }) { throw other.isInTheWay }
        let target = try await target(job.Label, scope)
        let before = try? TextFile.read(file, limit: 1 << 20)
        // launchd ends a loaded job by the settings that it was loaded with.
        let patience = max(job.ExitTimeOut, before.flatMap { LaunchdJob(text: Array($0.utf8)) }?.ExitTimeOut ?? 0)
        let loading = loading(target, job.Label, file, patience: patience, loadsIdle: scope == .system)
        let outcome: LaunchdLoading.Outcome
        try await install(try job.text, as: file, scope: scope)
        do {
            outcome = try await load(loading, scope)
        } catch let failure as LaunchdLoading.Failure {
            guard let before else {
                try? await remove(file, scope: scope)
                throw failure.explained
            }
            try? await install(before, as: file, scope: scope)
            guard failure.leavesGuestAlone else { throw failure.error }
            let former = self.loading(target, job.Label, file, patience: patience, loadsIdle: true)
            guard (try? await load(former, scope)) != nil else { throw failure.explained }
            throw HostError(
                failure.error.code, failure.error.message + "; it runs as it was registered before",
                hint: failure.error.hint)
        }
        var notes = foreign.map { "replaced \($0.file), which was not made for this instance by hostagent" }
        switch outcome {
        case .reloaded: notes.append("launchd has loaded it anew, with a new agent; the guest runs on")
        case .loaded: notes.append("launchd starts what it loads: it is being started now")
        case .idle: break
        }
        if target.hasPrefix("user/") {
            notes.append(
                "\(account.name) is not logged in at the screen, and launchd does not start agents for a login over SSH; "
                    + "--condition=boot starts it without any login")
        }
        return notes
    }

    package func reload(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        let loading = loading(
            target, found.identifier, found.file, patience: exitTimeOut(found), loadsIdle: false)
        do {
            _ = try await load(loading, found.scope)
        } catch let failure as LaunchdLoading.Failure {
            throw failure.explained
        }
    }

    private func loading(
        _ target: String, _ label: String, _ file: String, patience: Int, loadsIdle: Bool
    ) -> LaunchdLoading {
        LaunchdLoading(
            domain: String(target.dropLast(label.count + 1)), label: label, file: file, patience: patience,
            loadsIdle: loadsIdle)
    }

    private func load(_ loading: LaunchdLoading, _ scope: ManagerScope) async throws -> LaunchdLoading.Outcome {
        try await loading.run(privileged: scope == .system ? { privileged($0, $1) } : nil)
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
        let isLoaded = try await launchctl.printed(target) != nil
        // `enable` removes any override, so that none is left behind.
        if found.scope == .user {
            try await launchctl(["enable", target])
            if isLoaded { try await launchctl.bootOut(target, within: exitTimeOut(found)) }
        } else {
            let script = #"launchctl enable "$1""# + (isLoaded ? #"; exec launchctl bootout "$1""# : "")
            let result = try await privileged("sh", ["-c", script, "sh", target]).run()
            let refusal = Launchctl.Refusal(line: ["bootout", target], result: result)
            guard result.succeeded || refusal.isOfBusyJob || refusal.code == .notLoaded else {
                throw result.complaint.hasPrefix("sudo:")
                    ? HostError(.notPermitted, "sudo did not have launchd let \(target) go: \(result.complaint)")
                    : refusal.error
            }
            try await launchctl.awaitGone(target, within: exitTimeOut(found))
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
        let start = LaunchdStart(
            launchctl: launchctl, domain: String(target.dropLast(found.identifier.count + 1)), label: found.identifier,
            file: found.file, patience: exitTimeOut(found))
        try await start.run()
    }

    package func requirePermission(toRestart found: FoundRegistration) async throws {
        guard found.scope == .system, !isRoot else { return }
        throw HostError(
            .notPermitted, "launchd does not let \(account.name) restart \(found.identifier)",
            hint: "sudo launchctl kickstart -k system/\(found.identifier)")
    }

    package func startCommand(_ registration: Registration) -> String { "hostagent start \(registration.instance)" }

    package func beginStop(_ found: FoundRegistration) async throws {
        try await launchctl.beginBootOut(try await target(found.identifier, found.scope))
    }

    package func stop(_ found: FoundRegistration) async throws {
        let target = try await target(found.identifier, found.scope)
        guard try await launchctl.printed(target) != nil else { return }
        try await launchctl.bootOut(target, within: exitTimeOut(found))
    }

    /// Seconds that launchd gives a job to end.
    private func exitTimeOut(_ found: FoundRegistration) -> Int {
        (try? TextFile.bytes(found.file, limit: 1 << 20)).flatMap(LaunchdJob.init(text:))?.ExitTimeOut ?? 120
    }

    // MARK: Asking

    package func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus] {
        let overrides = try await disabledTargets(registrations)
        return try await withThrowingTaskGroup(of: (Int, ManagerStatus).self) { group in
            for (index, found) in registrations.enumerated() {
                group.addTask {
                    let target = try await target(found.identifier, found.scope)
                    let none = ManagerStatus(isEnabled: true, isLoaded: false, activity: .inactive)
                    var status = try await launchctl.printed(target)?.status ?? none
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
        let hasScreen = (try? await launchctl.printed("gui/\(account.uid)")) ?? nil
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
        for domain in ["gui/\(account.uid)", "user/\(account.uid)"]
        where try await launchctl.printed("\(domain)/\(label)") != nil {
            return "\(domain)/\(label)"
        }
        let domain = try await launchctl.printed("gui/\(account.uid)") != nil ? "gui" : "user"
        return "\(domain)/\(account.uid)/\(label)"
    }

    private func launchctl(_ line: [String], accepting accepted: Set<LaunchdCode> = []) async throws {
        do {
            try await launchctl.run(line, accepting: accepted)
        } catch let refusal as Launchctl.Refusal {
            throw refusal.error
        }
    }

    /// A program that runs as root, through sudo if we are not root.
    private func privileged(_ program: String, _ arguments: [String]) -> Tool {
        isRoot ? Tool(program, arguments) : Tool("sudo", [program] + arguments)
    }
}
