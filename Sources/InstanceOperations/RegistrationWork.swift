import HostModel
import HostOS
import InstanceStore
import ServiceManagement

/// What registering an instance needs to know of its files, and what it changes in them. Done in this process for its own
/// account; for another account by a process of that account (`OwnerBoundary`).
package enum RegistrationWork {
    /// What a registration is rendered from.
    package struct Facts: Codable, Sendable {
        package var stopGrace: Int
        package var keepAlive: KeepAlive
        package var after: [String]
        package var before: [String]
        package var needs: Registration.Needs
    }

    /// What a file held before it was changed; without text it did not exist.
    package struct Before: Codable, Sendable {
        package var isChanged: Bool
        package var text: String?
    }

    package static func facts(_ directory: InstanceDirectory) throws -> Facts {
        let settings = try Instance(directory).settings
        // A start that could not bind its sockets should be known now.
        try directory.checkSocketPaths()
        return Facts(
            stopGrace: settings.stopGrace, keepAlive: settings.keepAlive, after: settings.after.map(\.text),
            before: settings.before.map(\.text), needs: Registration.Needs())
    }

    /// The agent asks its settings for the policy, so they have to agree with the manager's.
    package static func setKeepAlive(_ policy: KeepAlive, _ directory: InstanceDirectory) throws(HostError) -> Before {
        let path = directory.settings
        do {
            let text = Files.kind(path) == nil ? nil : try TextFile.read(path)
            guard try Settings.load(text ?? "", file: path).keepAlive != policy else {
                return Before(isChanged: false, text: nil)
            }
            try TextFile.replace(path, with: Settings.setting("keepAlive", to: policy.rawValue, in: text ?? ""))
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

    /// Ends a guest that the manager left when it stopped, and forgets the failures that it counted.
    package static func tidy(_ directory: InstanceDirectory, _ context: OperationContext) async throws {
        try await StopOperation(context: context, directory: directory).reap()
        RestartHistory.forget(directory)
    }
}
