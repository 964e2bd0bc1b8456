import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers

/// Reads and changes the files of an instance for its registration. For another account this runs in a process of that
/// account (`OwnerBoundary`).
package enum RegistrationWork {
    /// The facts from which a registration is rendered.
    package struct Facts: Codable, Sendable {
        package var stopGrace: Int
        package var keepAlive: KeepAlive
        package var after: [String]
        package var before: [String]
        package var needs: Registration.Needs
    }

    /// The content of a file before it was changed. The text is nil if the file did not exist.
    package struct Before: Codable, Sendable {
        package var isChanged: Bool
        package var text: String?
    }

    /// Where an agent in a unit keeps downloads. It has to exist before a sandbox can let the agent write to it.
    private static var downloadCache: String? {
        guard let home = HostProcess.account?.home, !HostProcess.hasLaunchd else { return nil }
        let cache = home + "/.cache/lima"
        return (try? Files.makeDirectory(cache)) == nil ? nil : cache
    }

    package static func facts(_ directory: InstanceDirectory) throws -> Facts {
        let instance = try Instance(directory)
        let settings = instance.settings
        let mounts = instance.configuration.mounts.map { $0.located(in: directory.path) }
        // A sandbox lets the agent write only to what is there.
        for mount in mounts { try? Files.makeDirectory(mount.location) }
        // Paths that are too long for sockets are reported now, not at the first start.
        try directory.checkSocketPaths()
        return Facts(
            stopGrace: settings.stopGrace, keepAlive: settings.keepAlive, after: settings.after.map(\.text),
            before: settings.before.map(\.text),
            needs: Registration.Needs(
                writablePaths: (downloadCache.map { [$0] } ?? []) + mounts.filter(\.isWritable).map(\.location),
                readablePaths: mounts.filter { !$0.isWritable }.map(\.location),
                namespaces: !mounts.isEmpty || settings.network == .passt, netlink: settings.network == .passt))
    }

    /// The agent reads the policy from its settings, so they must agree with the manager's file.
    package static func setKeepAlive(_ policy: KeepAlive, _ directory: InstanceDirectory) throws(HostError) -> Before {
        let path = directory.settings
        do {
            let text = Files.kind(path) == nil ? nil : try TextFile.read(path)
            guard try Settings.load(text ?? "", file: path).settings.keepAlive != policy else {
                return Before(isChanged: false, text: nil)
            }
            let changed = Settings.setting("keepAlive", to: policy.rawValue, in: text ?? "")
            guard try Settings.load(changed, file: path).settings.keepAlive == policy else {
                throw HostError(
                    .badConfiguration, "keepAlive cannot be set in \(path)",
                    hint: "write keepAlive: \(policy.rawValue) there")
            }
            try TextFile.replace(path, with: changed)
            return Before(isChanged: true, text: text)
        } catch {
            throw (error as? HostError) ?? HostError(.cannotCreate, "cannot write \(path): \(error)")
        }
    }

    package static func restore(_ before: Before, _ directory: InstanceDirectory) throws {
        guard before.isChanged else { return }
        if let text = before.text {
            try TextFile.replace(directory.settings, with: text)
        } else {
            try Files.remove(directory.settings)
        }
    }

    /// Ends a guest that is left after the manager stopped its agent, and resets the count of failures.
    package static func tidy(_ directory: InstanceDirectory, _ context: OperationContext) async throws {
        try await StopOperation(context: context, directory: directory).reap()
        RestartHistory.forget(directory)
    }
}
