import HostModel

/// The name of an instance's registration with a manager.
package enum ServiceName {
    /// `lima-vm@NAME.service`: what Lima itself calls the unit of an instance.
    package static func systemdUnit(_ instance: InstanceName) -> String { "lima-vm@\(instance).service" }

    /// The launchd label of an instance: of its login registration, or of the one at boot.
    package static func launchdLabel(_ instance: InstanceName, scope: ManagerScope) -> String {
        scope == .user ? "io.lima-vm.autostart.\(instance)" : "io.lima-vm.daemon.\(instance)"
    }
}
