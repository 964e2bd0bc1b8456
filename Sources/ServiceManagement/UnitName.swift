import HostModel

/// The name of an instance's registration with a manager.
package enum ServiceName {
    /// `lima-vm@NAME.service`: what Lima itself calls the unit of an instance.
    package static func systemdUnit(_ instance: InstanceName) -> String { "lima-vm@\(instance).service" }

    /// The launchd labels of an instance: at login, and at boot.
    package static func launchdLabels(_ instance: InstanceName) -> [(label: String, scope: ManagerScope)] {
        [("io.lima-vm.autostart.\(instance)", .user), ("io.lima-vm.daemon.\(instance)", .system)]
    }
}
