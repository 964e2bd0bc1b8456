import HostModel
import HostOS

extension SystemdManager {
    package func lastWords(of registration: FoundRegistration) async -> [String] {
        let scope = registration.scope == .user ? ["--user"] : []
        let tool = Tool(
            "journalctl",
            scope + [
                "--unit", registration.identifier, "--identifier=hostagent", "--lines=40", "--no-pager", "--output=cat",
            ])
        guard let result = try? await tool.run(), result.succeeded else { return [] }
        // The journal also has the agent's events, as JSON. They are left out: the event log has them as readable text.
        return result.output.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("{") }.suffix(6)
    }

    package func diagnose(_ registrations: [FoundRegistration]) async -> [HostFinding] {
        var findings = [runtimeDirectory(), await userManager(), linger(), await stopTimeout()].compactMap { $0 }
        findings += registrations.compactMap(Self.staleness)
        return findings
    }

    private func runtimeDirectory() -> HostFinding {
        if let set = context.environment["XDG_RUNTIME_DIR"], !set.isEmpty {
            return HostFinding("XDG_RUNTIME_DIR", .ok, set)
        }
        let directory = "/run/user/\(context.account.uid)"
        if Files.kind(directory) == .directory {
            return HostFinding("XDG_RUNTIME_DIR", .ok, "not set; \(directory) is there and is used")
        }
        return HostFinding(
            "XDG_RUNTIME_DIR", .warning, "not set, and there is no \(directory)",
            fix: "log in (su and sudo do not), or: sudo loginctl enable-linger \(context.account.name)")
    }

    private func userManager() async -> HostFinding {
        let name = "user manager"
        do {
            let result = try await command(["is-system-running"], scope: .user).run()
            let state = result.output.trimmed
            if ["running", "degraded", "starting"].contains(state) { return HostFinding(name, .ok, state) }
            return HostFinding(
                name, .problem, state.isEmpty ? result.complaint : state, fix: "systemctl --user status says more")
        } catch let error as HostError {
            return HostFinding(name, .problem, error.message, fix: error.hint)
        } catch {
            return HostFinding(name, .problem, "\(error)")
        }
    }

    private func linger() -> HostFinding {
        if Linger.isEnabled(context.account) {
            return HostFinding("linger", .ok, "on: registrations at login start when the host boots")
        }
        return HostFinding(
            "linger", .warning, "off: registrations at login start at the first login and end with the last session",
            fix: "loginctl enable-linger \(context.account.name), or register with --condition=boot")
    }

    /// If a user manager takes too long to stop, everything in it is killed (systemd#4206).
    private func stopTimeout() async -> HostFinding? {
        let unit = "user@\(context.account.uid).service"
        guard let tool = try? command(["show", "-P", "TimeoutStopUSec", unit], scope: .system),
            let result = try? await tool.run(), result.succeeded
        else { return nil }
        let text = result.output.trimmed
        guard text != "infinity", let seconds = SystemdStatus.span(text) else {
            return text == "infinity" ? HostFinding("user manager's stop timeout", .ok, text) : nil
        }
        if Int(seconds) >= SystemdUnit.userManagerStopLimit + 10 {
            return HostFinding("user manager's stop timeout", .ok, text)
        }
        return HostFinding(
            "user manager's stop timeout", .problem,
            "\(text): guests that take longer to shut down are killed with it",
            fix: "sudo systemctl edit user@.service and set TimeoutStopSec=120s under [Service]")
    }

    static func staleness(_ found: FoundRegistration) -> HostFinding? {
        let check = "registration of \(found.instance)"
        let condition = found.condition == .boot ? "--condition=boot " : ""
        guard found.isOurs else {
            return HostFinding(
                check, .warning, "\(found.file) was not made by hostagent",
                fix: "hostagent autostart enable --take-over \(condition)\(found.instance)")
        }
        if let home = found.limaHome, Files.kind("\(home)/\(found.instance)") == nil {
            return HostFinding(
                check, .problem, "\(found.file) starts an instance that is gone from \(home)",
                fix: "hostagent autostart disable \(found.instance)")
        }
        guard let binary = found.binary, Files.isExecutable(binary) else {
            return HostFinding(
                check, .problem, "\(found.file) starts \(found.binary ?? "nothing"), which is not there",
                fix: "hostagent autostart enable \(condition)\(found.instance) names the program's new place")
        }
        return HostFinding(check, .ok, found.file)
    }
}
