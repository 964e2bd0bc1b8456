import HostModel
import HostOS

/// What systemd is doing with the unit that this process belongs to.
package enum SystemdJob {
    /// Whether this process runs in the unit of this instance and systemd has a job that stops the unit. After a crash
    /// there is no job, and after a failed start there is a `start` job. `$SERVICE_RESULT` does not distinguish these.
    package static func isStoppingOwnUnit(of instance: InstanceName) async throws -> Bool {
        guard let scope = scopeOfOwnUnit(of: instance) else { return false }
        let unit = ServiceName.systemdUnit(instance)
        let arguments =
            (scope == .user ? ["--user"] : []) + ["list-jobs", "--no-legend", "--plain", "--full", unit]
        return isStopping(unit, jobs: try await Tool("systemctl", arguments).run().output)
    }

    /// The scope of the manager whose unit of this instance this process runs in; nil outside of that unit.
    package static func scopeOfOwnUnit(of instance: InstanceName) -> ManagerScope? {
        let unit = ServiceName.systemdUnit(instance)
        if Systemd.userUnit(of: HostProcess.pid) == unit { return .user }
        return Systemd.systemUnit(of: HostProcess.pid) == unit ? .system : nil
    }

    /// Reads lines of `list-jobs`: number, unit, type, state (systemctl(1)).
    package static func isStopping(_ unit: String, jobs: String) -> Bool {
        jobs.split(separator: "\n").contains { line in
            let words = line.split(separator: " ")
            return words.count >= 3 && words[1] == unit && ["stop", "restart"].contains(words[2])
        }
    }
}
