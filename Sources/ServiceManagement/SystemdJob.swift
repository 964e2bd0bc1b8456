import HostModel
import HostOS

/// What systemd is doing with the unit that this process belongs to.
package enum SystemdJob {
    /// The unit of this instance, in which this process runs, has a job that stops it. A crash has no job and a failed
    /// start has a `start` job, which `$SERVICE_RESULT` cannot tell apart.
    package static func isStoppingOwnUnit(of instance: InstanceName) async throws -> Bool {
        guard let scope = scopeOfOwnUnit(of: instance) else { return false }
        let unit = ServiceName.systemdUnit(instance)
        let arguments =
            (scope == .user ? ["--user"] : []) + ["list-jobs", "--no-legend", "--plain", "--full", unit]
        return isStopping(unit, jobs: try await Tool("systemctl", arguments).run().output)
    }

    /// Whose manager runs the unit of this instance that this process belongs to; nil outside of it.
    package static func scopeOfOwnUnit(of instance: InstanceName) -> ManagerScope? {
        let unit = ServiceName.systemdUnit(instance)
        if Systemd.userUnit(of: HostProcess.pid) == unit { return .user }
        return Systemd.systemUnit(of: HostProcess.pid) == unit ? .system : nil
    }

    /// A line of `list-jobs`: number, unit, type, state (systemctl(1)).
    package static func isStopping(_ unit: String, jobs: String) -> Bool {
        jobs.split(separator: "\n").contains { line in
            let words = line.split(separator: " ")
            return words.count >= 3 && words[1] == unit && ["stop", "restart"].contains(words[2])
        }
    }
}
