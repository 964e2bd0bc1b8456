import HostModel
import HostOS

/// systemd, of this account and of the machine.
package struct SystemdManager: ServiceManager {
    /// What the manager needs to know of the process that uses it.
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

    /// systemd.unit(5): where an account's own units are.
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
            // Lima enables instances of a template unit: the link in the target's directory is all there is of one.
            let target = SystemdUnit.target(condition.scope)
            let link = "\(directory(condition.scope))/\(target).wants/\(name)"
            guard text != nil || Files.kind(link) != nil else { return nil }
            return FoundRegistration(
                instance: instance, condition: condition, identifier: name, file: text == nil ? link : file,
                isOurs: text?.contains(SystemdUnit.marker) ?? false,
                binary: text.flatMap(SystemdUnit.binary(inText:)))
        }
    }

    // MARK: Enabling

    package func enable(_ registration: Registration, takeOver: Bool) async throws -> [String] {
        let unit = SystemdUnit(registration)
        let file = directory(unit.scope) + "/" + unit.name
        var notes: [String] = []
        let there = registrations(of: registration.instance)
        if let foreign = there.first(where: { !$0.isOurs && $0.scope == unit.scope }) {
            guard takeOver else { throw foreign.notOurs }
            notes.append("replaced \(foreign.file), which was not made by hostagent")
            if foreign.file != file { try await verb("disable", scope: unit.scope, unit: unit.name) }
        }
        if let other = there.first(where: { $0.scope != unit.scope }) { throw other.isThereAlready }
        if unit.stopGrace > unit.effectiveGrace {
            notes.append(
                "the guest gets \(unit.effectiveGrace) s to shut down, not \(unit.stopGrace) s: the user manager itself "
                    + "has 120 s; --condition=boot has no such limit")
        }
        if unit.scope == .user { _ = try userManagerVariables() }
        let before = try? TextFile.read(file, limit: 1 << 20)
        try await install(unit.text, as: file, scope: unit.scope)
        do {
            if unit.scope == .user || isRoot { try await verb("daemon-reload", scope: unit.scope, unit: nil) }
            // For the system manager enabling reloads too: one call of sudo less (systemctl(1), enable).
            try await verb("enable", scope: unit.scope, unit: unit.name)
        } catch {
            if unit.scope == .user || isRoot {
                if let before {
                    try? TextFile.replace(file, with: before, mode: 0o644)
                } else {
                    try? Files.remove(file)
                }
                try? await verb("daemon-reload", scope: unit.scope, unit: nil)
            } else if let before {
                try? await install(before, as: file, scope: unit.scope)
            } else {
                _ = try? await Self.privileged("rm", ["-f", file]).run()
            }
            throw error
        }
        return notes
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
        let tool = Self.privileged("install", ["-m", "0644", "-o", "root", "-g", "root", "/dev/stdin", file])
        let result = try await tool.with(input: text).run()
        guard result.succeeded else {
            throw HostError(
                .notPermitted, "sudo did not put \(file) there: \(result.complaint)",
                hint: "a boot registration needs root twice; or use --condition=boot --linger")
        }
    }

    // MARK: Disabling

    package func disable(_ found: FoundRegistration) async throws {
        guard found.isOurs else {
            throw HostError(
                .held, "\(found.file) was not made by hostagent and is left alone",
                hint: "systemctl \(found.scope == .user ? "--user " : "")disable \(found.identifier)")
        }
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
        try await verb("daemon-reload", scope: found.scope, unit: nil)
        // A failed unit is remembered after its file is gone; this forgets it. Of one that did not fail it is refused.
        _ = try? await command(["reset-failed", found.identifier], scope: found.scope).run()
    }

    // MARK: Starting and stopping

    package func start(_ found: FoundRegistration) async throws {
        // Ten quick rounds by hand must not trip the start limit, which counts those too.
        _ = try? await command(["reset-failed", found.identifier], scope: found.scope).run()
        try await verb("start", scope: found.scope, unit: found.identifier)
    }

    package func stop(_ found: FoundRegistration) async throws {
        try await verb("stop", scope: found.scope, unit: found.identifier)
        let status = try await status([found])
        guard let now = status.first, now.isDown else {
            throw HostError(
                .failed, "systemd stopped \(found.identifier), and it is \(status.first?.activity.rawValue ?? "?")")
        }
    }

    package func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus] {
        var known: [ManagerScope: [String: ManagerStatus]] = [:]
        for scope in ManagerScope.allCases {
            let units = registrations.filter { $0.scope == scope }.map(\.identifier)
            if units.isEmpty { continue }
            let tool = try command(
                ["show", "--timestamp=unix", "--property=" + SystemdStatus.properties.joined(separator: ",")] + units,
                scope: scope)
            let result = try await tool.run()
            guard result.succeeded else {
                throw refusal(result, "show", scope: scope, unit: units.joined(separator: " "))
            }
            known[scope] = SystemdStatus.parse(result.output)
        }
        return registrations.map {
            known[$0.scope]?[$0.identifier] ?? ManagerStatus(isEnabled: false, isLoaded: false, activity: .inactive)
        }
    }

    // MARK: systemctl

    /// The command line of a verb, with what it needs to find the manager.
    func command(_ arguments: [String], scope: ManagerScope) throws(HostError) -> Tool {
        if scope == .system { return Tool("systemctl", ["--no-ask-password"] + arguments) }
        return Tool(
            "systemctl", ["--user", "--no-ask-password"] + arguments,
            environment: try userManagerVariables().mapValues { $0 })
    }

    /// Without `XDG_RUNTIME_DIR` (su, sudo, cron) there still is a manager where its directory is.
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

    /// Runs a verb; where it needs root and we are not, through sudo for what changes registrations, and with what to
    /// type as the error's hint for starts and stops.
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
        let denied = ["authentication required", "Access denied", "not permitted", "a password is required"]
            .contains { result.error.contains($0) }
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

    /// A command run by root, through sudo.
    static func privileged(_ program: String, _ arguments: [String]) -> Tool { Tool("sudo", [program] + arguments) }
}

extension String {
    fileprivate var trimmedEnd: String { hasSuffix(" ") ? String(dropLast()) : self }
}
