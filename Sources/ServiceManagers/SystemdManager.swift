import HostModel
import HostOS

/// systemd, both of this account and of the machine.
package struct SystemdManager: ServiceManager {
    /// What the manager needs to know about the process that uses it.
    package struct Context: Sendable {
        package var environment: [String: String]
        package var account: Account

        package init(environment: [String: String], account: Account) {
            self.environment = environment
            self.account = account
        }
    }

    let context: Context
    private let systemUnits = "/etc/systemd/system"

    package init(_ context: Context) { self.context = context }

    package var kind: ManagerKind { .systemd }
    package var announcesReadiness: Bool { true }

    private var isRoot: Bool { context.account.uid == 0 }

    /// The directory of an account's own units (systemd.unit(5)).
    private var userUnits: String {
        let set = context.environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        return (set ?? context.account.home + "/.config") + "/systemd/user"
    }

    private func directory(_ scope: ManagerScope) -> String { scope == .user ? userUnits : systemUnits }

    // MARK: What is there

    package func registrations(of instance: InstanceName) -> [FoundRegistration] {
        AutostartCondition.allCases.compactMap { condition in
            let name = ServiceName.systemdUnit(instance)
            let file = directory(condition.scope) + "/" + name
            let text = try? TextFile.read(file, limit: 1 << 20)
            // Lima enables instances of a template unit. Such a unit only consists of a link in the target's directory.
            let target = SystemdUnit.target(condition.scope)
            let link = "\(directory(condition.scope))/\(target).wants/\(name)"
            guard text != nil || Files.kind(link) != nil else { return nil }
            let facts = text.map(SystemdUnit.facts(ofText:))
            return FoundRegistration(
                instance: instance, condition: condition, identifier: name, file: text == nil ? link : file,
                isOurs: text?.contains(SystemdUnit.marker) ?? false, binary: facts?.binary, limaHome: facts?.limaHome,
                owner: condition.scope == .system ? facts?.owner ?? "root" : nil, terms: facts?.terms)
        }
    }

    package func registrations() -> [FoundRegistration] {
        let directories = ManagerScope.allCases.flatMap { scope in
            [directory(scope), "\(directory(scope))/\(SystemdUnit.target(scope)).wants"]
        }
        let names = directories.flatMap { (try? Files.names(in: $0)) ?? [] }
        return Set(names.compactMap(ServiceName.instance(ofSystemdUnit:))).sorted().flatMap(registrations(of:))
    }

    // MARK: Enabling

    package func files(of registration: Registration) throws -> [(path: String, text: String)] {
        let unit = SystemdUnit(registration)
        return try unit.files.map { (path: directory(unit.scope) + "/" + $0.name, text: $0.text) }
    }

    package func enable(_ registration: Registration, takeOver: Bool) async throws -> [String] {
        let unit = SystemdUnit(registration)
        let files = try files(of: registration)
        let foreign = try check(registration, takeOver: takeOver)
        if unit.scope == .user { _ = try userManagerVariables() }
        let before = files.map { (path: $0.path, text: try? TextFile.read($0.path, limit: 1 << 20)) }
        // Foreign registrations that are not in our files are disabled. Their links conflict with ours, or they would
        // start the instance a second time.
        let links = foreign.filter { found in !files.contains { $0.path == found.file } }
        do {
            // A service that was started from the old file would continue under the new unit's name.
            for other in foreign where other.scope == unit.scope { try await stopForeign(other) }
            for link in links { try await verb("disable", scope: link.scope, unit: link.identifier) }
            for file in files { try await install(file.text, as: file.path, scope: unit.scope) }
            if unit.scope == .user || isRoot { try await verb("daemon-reload", scope: unit.scope, unit: nil) }
            // For the system manager, `enable` also reloads (systemctl(1), enable). This saves a call of sudo.
            let now = registration.startsNow ? ["--now", "--no-block"] : []
            try await verb("enable", scope: unit.scope, unit: unit.name, more: now)
        } catch {
            await restore(before, scope: unit.scope)
            for link in links { try? await verb("enable", scope: link.scope, unit: link.identifier) }
            throw error
        }
        return foreign.map { "replaced \($0.file), which was not made for this instance by hostagent" }
            + (unit.stopGrace > unit.effectiveGrace
                ? [
                    "the guest gets \(unit.effectiveGrace) s to shut down, not \(unit.stopGrace) s: the user manager "
                        + "itself has 120 s; --condition=boot has no such limit"
                ] : [])
    }

    private func stopForeign(_ found: FoundRegistration) async throws {
        guard let now = try await status([found]).first, !now.isDown else { return }
        let tool =
            found.scope == .system && !isRoot
            ? Self.privileged("systemctl", ["stop", found.identifier])
            : try command(["stop", found.identifier], scope: found.scope)
        let result = try await tool.run()
        guard result.succeeded else { throw refusal(result, "stop", scope: found.scope, unit: found.identifier) }
    }

    /// Restores the previous files as far as possible.
    private func restore(_ files: [(path: String, text: String?)], scope: ManagerScope) async {
        for file in files {
            if let text = file.text {
                try? await install(text, as: file.path, scope: scope)
            } else if scope == .user || isRoot {
                try? Files.remove(file.path)
            } else {
                _ = try? await Self.privileged("rm", ["-f", file.path]).run()
            }
        }
        if scope == .user || isRoot { try? await verb("daemon-reload", scope: scope, unit: nil) }
    }

    private func install(_ text: String, as file: String, scope: ManagerScope) async throws {
        if scope == .user || isRoot {
            do {
                if scope == .user { try Files.makeDirectory(directory(scope)) }
                try TextFile.replace(file, with: text, mode: 0o644)
                try Files.setMode(file, 0o644)
            } catch {
                throw HostError(.cannotCreate, "cannot write \(file): \(error)")
            }
            return
        }
        let result = try await PrivilegedFile.put(file, Self.privileged).with(input: text).run()
        guard result.succeeded else {
            throw HostError(
                .notPermitted, "sudo did not put \(file) there: \(result.complaint)",
                hint: "a boot registration needs root twice; or use --condition=boot --linger")
        }
    }

    // MARK: Disabling

    package func disable(_ found: FoundRegistration) async throws {
        try await verb("disable", scope: found.scope, unit: found.identifier, more: ["--now"])
        if found.scope == .user || isRoot {
            do {
                try Files.remove(found.file)
            } catch {
                throw HostError(.notPermitted, "cannot remove \(found.file): \(error.reason)")
            }
        } else {
            let result = try await Self.privileged("rm", ["-f", found.file]).run()
            guard result.succeeded else {
                throw HostError(.notPermitted, "sudo did not remove \(found.file): \(result.complaint)")
            }
        }
        // systemd remembers a failed unit after its file is gone. `reset-failed` clears it, and is refused for a unit
        // that did not fail.
        if found.scope == .user || isRoot {
            try await verb("daemon-reload", scope: found.scope, unit: nil)
            _ = try? await command(["reset-failed", found.identifier], scope: found.scope).run()
        } else {
            let both = #"systemctl daemon-reload && { systemctl reset-failed "$1" 2> /dev/null || :; }"#
            let result = try await Self.privileged("sh", ["-c", both, "sh", found.identifier]).run()
            guard result.succeeded else { throw refusal(result, "daemon-reload", scope: .system, unit: "") }
        }
    }

    // MARK: Starting and stopping

    package func start(_ found: FoundRegistration) async throws {
        // systemd's start limit also counts starts by hand. Ten quick ones must not reach it.
        _ = try? await command(["reset-failed", found.identifier], scope: found.scope).run()
        try await verb("start", scope: found.scope, unit: found.identifier)
    }

    package func requirePermission(toRestart found: FoundRegistration) async throws {
        guard found.scope == .system, !isRoot else { return }
        // `reset-failed` needs the same permission as a start (org.freedesktop.systemd1.manage-units) and changes
        // nothing important.
        let result = try await command(["reset-failed", found.identifier], scope: .system).run()
        if result.succeeded { return }
        let error = refusal(result, "restart", scope: .system, unit: found.identifier)
        if error.code == .notPermitted { throw error }
    }

    package func startCommand(_ registration: Registration) -> String {
        registration.condition.scope == .system && !isRoot
            ? "sudo systemctl start \(ServiceName.systemdUnit(registration.instance))"
            : "hostagent start \(registration.instance)"
    }

    package func beginStop(_ found: FoundRegistration) async throws {
        try await verb("stop", scope: found.scope, unit: found.identifier, more: ["--no-block"])
    }

    package func stop(_ found: FoundRegistration) async throws {
        try await verb("stop", scope: found.scope, unit: found.identifier)
        let now = try await status([found]).first
        guard let now, now.isDown else {
            throw HostError(
                .failed, "systemd stopped \(found.identifier), and it is \(now?.activity.rawValue ?? "?")")
        }
        // A requested stop is not a failure, however the agent ended.
        if now.activity == .failed {
            _ = try? await command(["reset-failed", found.identifier], scope: found.scope).run()
        }
    }

    package func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus] {
        var known: [ManagerScope: [String: ManagerStatus]] = [:]
        for scope in ManagerScope.allCases {
            let units = registrations.filter { $0.scope == scope }.map(\.identifier)
            if units.isEmpty { continue }
            let tool: Tool
            do {
                tool = try command(
                    ["show", "--timestamp=unix", "--property=" + SystemdStatus.properties.joined(separator: ",")]
                        + units, scope: scope)
            } catch {
                // Without a user manager, none of its units runs.
                continue
            }
            let result = try await tool.run()
            guard result.succeeded else {
                throw refusal(result, "show", scope: scope, unit: units.joined(separator: " "))
            }
            known[scope] = SystemdStatus.parse(result.output)
        }
        return registrations.map {
            known[$0.scope]?[$0.identifier]
                ?? ManagerStatus(isEnabled: isLinked($0), isLoaded: false, activity: .inactive)
        }
    }

    /// Whether it is enabled according to the files, if no manager can be asked.
    private func isLinked(_ found: FoundRegistration) -> Bool {
        let wants = "\(directory(found.scope))/\(SystemdUnit.target(found.scope)).wants"
        return Files.kind("\(wants)/\(found.identifier)") != nil
    }

    // MARK: systemctl

    /// The command line of a verb, with the environment that it needs to find the manager.
    func command(_ arguments: [String], scope: ManagerScope) throws(HostError) -> Tool {
        if scope == .system { return Tool("systemctl", ["--no-ask-password"] + arguments) }
        return Tool(
            "systemctl", ["--user", "--no-ask-password"] + arguments,
            environment: try userManagerVariables().mapValues { $0 })
    }

    /// Without `XDG_RUNTIME_DIR` (su, sudo, cron), there is still a user manager if its directory exists.
    private func userManagerVariables() throws(HostError) -> [String: String] {
        if let set = context.environment["XDG_RUNTIME_DIR"], Files.kind(set + "/systemd") != nil { return [:] }
        let directory = "/run/user/\(context.account.uid)"
        if Files.kind(directory + "/systemd") != nil { return ["XDG_RUNTIME_DIR": directory] }
        throw HostError(
            .unavailable, "there is no user manager of \(context.account.name) now",
            hint:
                "log in as \(context.account.name), or have one from boot on: loginctl enable-linger \(context.account.name)"
        )
    }

    /// Runs a verb. If it needs root and we are not root, verbs that change registrations run through sudo. For starts
    /// and stops, the error's hint is the command to type.
    private func verb(_ verb: String, scope: ManagerScope, unit: String?, more: [String] = []) async throws {
        let arguments = [verb] + more + (unit.map { [$0] } ?? [])
        let changesRegistrations = ["enable", "disable", "daemon-reload"].contains(verb)
        let tool =
            if scope == .system, !isRoot, changesRegistrations {
                Self.privileged("systemctl", arguments)
            } else {
                try command(arguments, scope: scope)
            }
        let result = try await tool.run()
        guard result.succeeded else { throw refusal(result, verb, scope: scope, unit: unit ?? "") }
    }

    private func refusal(_ result: Tool.Result, _ verb: String, scope: ManagerScope, unit: String) -> HostError {
        let denied =
            ["authentication required", "Access denied", "not permitted"].contains { result.error.contains($0) }
            || result.complaint.hasPrefix("sudo:") || result.error.contains("not in the sudoers")
        let line = (scope == .user ? "systemctl --user" : "sudo systemctl") + " \(verb) \(unit)".trimmedEnd
        if ["Failed to connect to", "System has not been booted"].contains(where: result.error.contains) {
            return HostError(
                .unavailable, "systemd does not run here: \(result.complaint)",
                hint: "hostagent start runs an instance without a manager")
        }
        if denied {
            return HostError(
                .notPermitted, "systemd does not let \(context.account.name) \(verb) \(unit)", hint: line)
        }
        return HostError(
            .failed, "systemctl " + "\(verb) \(unit)".trimmedEnd + ": \(result.complaint)",
            hint: "systemctl \(scope == .user ? "--user " : "")status \(unit) says more")
    }

    /// A command that runs as root, through sudo.
    static func privileged(_ program: String, _ arguments: [String]) -> Tool { Tool("sudo", [program] + arguments) }
}

extension String {
    fileprivate var trimmedEnd: String { hasSuffix(" ") ? String(dropLast()) : self }
}
