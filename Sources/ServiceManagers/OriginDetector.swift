import HostModel
import HostOS

/// Finds out who started this agent. The facts are passed in as values, so that tests can cover every combination.
/// `current` reads them from the system.
package struct OriginDetector: Sendable {
    /// What a process can know about its origin.
    package struct Facts: Sendable, Equatable {
        package var pid: Int32
        package var parent: Int32
        /// `SYSTEMD_EXEC_PID` (systemd.exec(5), v248): the process that systemd itself executed. Children inherit it.
        package var systemdExecPID: String?
        /// `XPC_SERVICE_NAME`: the launchd label; `0` in interactive shells. Children inherit it.
        package var xpcServiceName: String?
        /// The unit of the user manager that this process runs in (sd_pid_get_user_unit(3)).
        package var userUnit: String?
        /// The unit of the system manager (sd_pid_get_unit(3)). In a user session it is `user@UID.service` or the
        /// session's scope.
        package var systemUnit: String?

        package init(
            pid: Int32, parent: Int32, systemdExecPID: String? = nil, xpcServiceName: String? = nil,
            userUnit: String? = nil, systemUnit: String? = nil
        ) {
            self.pid = pid
            self.parent = parent
            self.systemdExecPID = systemdExecPID
            self.xpcServiceName = xpcServiceName
            self.userUnit = userUnit
            self.systemUnit = systemUnit
        }

        /// The facts of this process.
        package static func current(environment: [String: String]) -> Facts {
            Facts(
                pid: HostProcess.pid, parent: HostProcess.parent,
                systemdExecPID: environment["SYSTEMD_EXEC_PID"], xpcServiceName: environment["XPC_SERVICE_NAME"],
                userUnit: Systemd.userUnit(of: HostProcess.pid), systemUnit: Systemd.systemUnit(of: HostProcess.pid))
        }
    }

    /// A manager started this agent only if it executed this process itself, for the registration of this instance.
    /// Running inside a unit, or having inherited its variables, is not enough.
    package static func origin(of instance: InstanceName, facts: Facts) -> LaunchOrigin {
        let unit = ServiceName.systemdUnit(instance)
        // systemd before v248 does not set the variable, so it is never recognized as the origin.
        let executedBySystemd = facts.systemdExecPID.map { $0 == String(facts.pid) } ?? false
        if executedBySystemd {
            if facts.userUnit == unit { return .manager(kind: .systemd, scope: .user, identifier: unit) }
            if facts.userUnit == nil, facts.systemUnit == unit {
                return .manager(kind: .systemd, scope: .system, identifier: unit)
            }
        }
        if facts.parent == 1,
            let scope = ManagerScope.allCases.first(where: {
                ServiceName.launchdLabel(instance, scope: $0) == facts.xpcServiceName
            })
        {
            let label = ServiceName.launchdLabel(instance, scope: scope)
            return .manager(kind: .launchd, scope: scope, identifier: label)
        }
        return .person(enclosingUnit: facts.userUnit ?? facts.systemUnit)
    }
}
