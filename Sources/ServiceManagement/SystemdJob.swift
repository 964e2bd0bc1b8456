import HostModel
import HostOS

/// What systemd is doing with the unit that this process belongs to.
package enum SystemdJob {
    /// The unit of this instance, in which this process runs, has a job that stops it. A crash has no job and a failed
    /// start has a `start` job, which `$SERVICE_RESULT` cannot tell apart.
    package static func isStoppingOwnUnit(of instance: InstanceName) async throws -> Bool {
        let unit = ServiceName.systemdUnit(instance)
        let scope: [String]
        if Systemd.userUnit(of: HostProcess.pid) == unit {
            scope = ["--user"]
        } else if Systemd.systemUnit(of: HostProcess.pid) == unit {
            scope = []
        } else {
            return false
        }
        let jobs = try await Tool("systemctl", scope + ["list-jobs", "--no-legend", "--plain", "--full", unit]).run()
        return isStopping(unit, jobs: jobs.output)
    }

    /// A line of `list-jobs`: number, unit, type, state (systemctl(1)).
    package static func isStopping(_ unit: String, jobs: String) -> Bool {
        jobs.split(separator: "\n").contains { line in
            let words = line.split(separator: " ")
            return words.count >= 3 && words[1] == unit && ["stop", "restart"].contains(words[2])
        }
    }
}
