import HostModel

/// The name of an instance's registration with a manager.
package enum ServiceName {
    /// `lima-vm@NAME.service`, the name that Lima itself uses for the unit of an instance.
    package static func systemdUnit(_ instance: InstanceName) -> String { "lima-vm@\(instance).service" }

    /// The instance that a unit of this name is for.
    package static func instance(ofSystemdUnit name: String) -> InstanceName? {
        guard name.hasPrefix("lima-vm@"), name.hasSuffix(".service") else { return nil }
        return try? InstanceName(String(name.dropFirst("lima-vm@".count).dropLast(".service".count)))
    }

    /// The instance that a property list of this name is for.
    package static func instance(ofPropertyList name: String) -> InstanceName? {
        guard name.hasSuffix(".plist") else { return nil }
        for prefix in ["io.lima-vm.autostart.", "io.lima-vm.daemon."] where name.hasPrefix(prefix) {
            return try? InstanceName(String(name.dropFirst(prefix.count).dropLast(".plist".count)))
        }
        return nil
    }

    /// The launchd label of an instance's registration at login or at boot.
    package static func launchdLabel(_ instance: InstanceName, scope: ManagerScope) -> String {
        scope == .user ? "io.lima-vm.autostart.\(instance)" : "io.lima-vm.daemon.\(instance)"
    }
}
