import HostModel

/// Reads the output of `systemctl show` (systemctl(1)): a block of `Name=value` lines for each unit.
package enum SystemdStatus {
    static let properties = [
        "Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "MainPID",
        "ExecMainStatus", "StateChangeTimestamp", "RestartUSec",
    ]

    /// The status of each unit, by its name.
    package static func parse(_ text: String) -> [String: ManagerStatus] {
        var statuses: [String: ManagerStatus] = [:]
        for block in text.split(separator: "\n\n") {
            var values: [String: String] = [:]
            for line in block.split(separator: "\n") {
                guard let mark = line.firstIndex(of: "=") else { continue }
                values[String(line[..<mark])] = String(line[line.index(after: mark)...])
            }
            if let id = values["Id"] { statuses[id] = status(values) }
        }
        return statuses
    }

    private static func status(_ values: [String: String]) -> ManagerStatus {
        let since = values["StateChangeTimestamp"].flatMap(seconds)
        let waits = values["SubState"] == "auto-restart"
        let result = values["Result"] ?? "success"
        return ManagerStatus(
            isEnabled: ["enabled", "enabled-runtime", "linked"].contains(values["UnitFileState"]),
            isLoaded: values["LoadState"] == "loaded",
            activity: waits ? .waiting : activity(values["ActiveState"]),
            pid: values["MainPID"].flatMap { Int32($0) }.flatMap { $0 > 0 ? $0 : nil },
            since: since, restarts: values["NRestarts"].flatMap { Int($0) },
            lastFailure: result == "success" ? nil : failure(result, status: values["ExecMainStatus"]),
            exitStatus: result == "exit-code" ? values["ExecMainStatus"].flatMap { Int32($0) } : nil,
            nextTry: waits ? since.map { $0 + (values["RestartUSec"].flatMap(span) ?? 0) } : nil)
    }

    private static func activity(_ state: String?) -> ManagerStatus.Activity {
        switch state {
        case "active", "reloading": .active
        case "activating": .starting
        case "deactivating": .stopping
        case "failed": .failed
        default: .inactive
        }
    }

    /// The results of systemd.service(5), `$SERVICE_RESULT`, as sentences.
    private static func failure(_ result: String, status: String?) -> String {
        switch result {
        case "exit-code": "the agent ended with status \(status ?? "?")"
        case "signal": "the agent was killed by signal \(status ?? "?")"
        case "core-dump": "the agent crashed (signal \(status ?? "?"))"
        case "timeout": "the agent did not start or stop in time"
        case "watchdog": "the agent hung, and the watchdog ended it"
        case "oom-kill": "the host ran out of memory"
        case "start-limit-hit": "it was started too often in a short time"
        case "resources": "the host lacked resources to start it"
        case "protocol": "the agent ended before it was ready"
        default: result
        }
    }

    /// With `--timestamp=unix`, a point in time is `@SECONDS`. Empty or 0 means never.
    private static func seconds(_ text: String) -> Double? {
        guard text.hasPrefix("@"), let value = Double(text.dropFirst()), value > 0 else { return nil }
        return value
    }

    /// A time span as systemd prints it: `1s`, `100ms`, `1min 30s`.
    package static func span(_ text: String) -> Double? {
        let units = [("min", 60.0), ("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("h", 3600), ("d", 86_400)]
        var sum = 0.0
        for part in text.split(separator: " ") {
            guard let unit = units.first(where: { part.hasSuffix($0.0) }),
                let value = Double(part.dropLast(unit.0.count))
            else { return nil }
            sum += value * unit.1
        }
        return sum
    }
}
