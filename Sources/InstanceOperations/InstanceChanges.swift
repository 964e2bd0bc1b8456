import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers

/// The result of a verb that changes an instance as a whole.
package struct ChangeResult: Codable, Sendable, Equatable {
    package var name: String
    package var dir: String
    /// False if the instance was as wanted already.
    package var changed: Bool
    /// The snapshot that a clone was made from; absent if it has the disk as it is now.
    package var snapshot: String?
}

/// Protects an instance from `delete` and `factory-reset`, or no longer. The mark is Lima's: an empty file.
package struct ProtectOperation: Sendable {
    private let directory: InstanceDirectory

    package init(directory: InstanceDirectory) { self.directory = directory }

    package func run(protect: Bool) throws -> ChangeResult {
        let isProtected = Files.kind(directory.protected) != nil
        do {
            if protect, !isProtected { try TextFile.replace(directory.protected, with: "", mode: 0o400) }
            if !protect, isProtected { try Files.remove(directory.protected) }
        } catch {
            throw HostError(.notPermitted, "cannot change \(directory.protected): \(error.reason)")
        }
        return ChangeResult(name: directory.name.text, dir: directory.path, changed: protect != isProtected)
    }

    /// - Throws: `HostError` if the instance is protected.
    static func require(unprotected directory: InstanceDirectory) throws(HostError) {
        if Files.kind(directory.protected) != nil { throw refusal(directory.name) }
    }

    static func refusal(_ name: InstanceName) -> HostError {
        HostError(.notPermitted, "the instance \"\(name)\" is protected", hint: "hostagent unprotect \(name)")
    }
}

/// Changes the text of a `lima.yaml`.
package typealias ConfigurationChange = @Sendable (ConfigurationText) throws(HostError) -> ConfigurationText

enum ConfigurationChanges {
    /// - Parameter name: the name that the instance will have.
    /// - Returns: the changed text; nil if nothing changes.
    /// - Throws: `HostError` if the change cannot be made, or makes a file with mistakes.
    static func changed(
        _ directory: InstanceDirectory, for name: InstanceName, _ change: ConfigurationChange
    ) throws(HostError) -> String? {
        guard let old = try TextFile.configuration(directory.limaYAML) else { return nil }
        let new = try change(ConfigurationText(old, file: directory.limaYAML))
        guard new.text != old else { return nil }
        _ = try LimaYAML.resolve(LimaHome(path: directory.home).layers(around: new), for: name, host: .current)
        return new.text
    }
}

/// Gives an instance another name.
package struct RenameOperation: Sendable {
    private let context: OperationContext
    private let directory: InstanceDirectory

    package init(context: OperationContext, directory: InstanceDirectory) {
        self.context = context
        self.directory = directory
    }

    /// - Parameter change: changes its `lima.yaml`.
    package func run(
        to name: InstanceName, changing change: ConfigurationChange = { text throws(HostError) in text }
    ) async throws -> ChangeResult {
        let new = try context.home().directory(of: name)
        try new.checkSocketPaths()
        try CloneOperation.refuseExisting(new)
        if let registration = context.registration(of: directory) {
            throw HostError(
                .held, "\(registration.identifier) starts \"\(directory.name)\" under its old name",
                hint: "hostagent autostart disable \(directory.name), then enable it under the new one")
        }
        let held = try StoppedInstance(directory, to: "rename", context)
        let text = try ConfigurationChanges.changed(directory, for: name, change)
        try await InstanceDisk.makeMovable(directory)
        let old = try TextFile.configuration(directory.limaYAML)
        do {
            if let text { try TextFile.replace(directory.limaYAML, with: text) }
            try Files.moveIfAbsent(directory.path, to: new.path)
        } catch {
            if text != nil, let old { try TextFile.replace(directory.limaYAML, with: old) }
            try CloneOperation.refuseExisting(new)
            throw HostError(.cannotCreate, "cannot rename \(directory.path): \(error.reason)")
        }
        held.release()
        return ChangeResult(name: name.text, dir: new.path, changed: true)
    }
}

/// Takes an instance back to what it was when it was created: the next start makes its disk anew.
package struct FactoryResetOperation: Sendable {
    private let context: OperationContext
    private let directory: InstanceDirectory

    package init(context: OperationContext, directory: InstanceDirectory) {
        self.context = context
        self.directory = directory
    }

    /// What a person wrote, and the lock that is held.
    private static let kept: Set<String> = ["lima.yaml", "hostagent.yaml", "lima-version", "protected", "agent.lock"]
    /// They go last. Without them and with a log of the console, a start would take the disk for lost.
    private static let disks = ["disk", "diffdisk", "basedisk"]

    package func run() throws -> ChangeResult {
        try ProtectOperation.require(unprotected: directory)
        // Nothing is removed if the instance could not be made again.
        _ = try Instance(directory)
        let held = try StoppedInstance(directory, to: "reset", context)
        do {
            let names = try Files.names(in: directory.path).filter { !Self.kept.contains($0) }
            for name in names where !Self.disks.contains(name) { try Files.remove(directory.path + "/" + name) }
            for name in names where Self.disks.contains(name) { try Files.remove(directory.path + "/" + name) }
        } catch {
            throw HostError(.notPermitted, "cannot reset \(directory.path): \(error)")
        }
        held.release()
        return ChangeResult(name: directory.name.text, dir: directory.path, changed: true)
    }
}

/// Removes downloads from the cache.
package struct PruneOperation: Sendable {
    private let context: OperationContext

    package init(context: OperationContext) { self.context = context }

    package struct Result: Codable, Sendable, Equatable {
        /// The addresses of what was removed.
        package var removed: [String]
        package var bytes: Int
    }

    /// - Parameter keepReferred: keep what instances and the templates of this program name.
    package func run(keepReferred: Bool) async throws -> Result {
        let kept = keepReferred ? try await addressesInUse() : []
        let removed = try context.sourceFiles.prune(keeping: kept)
        return Result(removed: removed.map(\.address), bytes: removed.reduce(0) { $0 + $1.bytes })
    }

    private func addressesInUse() async throws -> Set<String> {
        var addresses: Set<String> = []
        let home = try context.home()
        for directory in try home.instances() {
            // An instance whose file cannot be read names nothing that could be kept; it must not be a reason to remove.
            let instance: Instance
            do {
                instance = try Instance(directory)
            } catch {
                throw HostError(
                    error.code, "what \"\(directory.name)\" refers to is not known: \(error.message)",
                    hint: "correct it, or prune without --keep-referred")
            }
            addresses.formUnion(instance.configuration.allAddresses)
        }
        let store = TemplateStore(home: home, environment: context.environment, provider: context.sourceFiles)
        for name in InstanceTemplate.names {
            let locator = Locator.template(name)
            let text = try await BaseEmbedding(reader: store).embedded(store.text(of: locator), at: locator)
            let resolved = try LimaYAML.resolve(ConfigurationLayers(text), for: InstanceName("x"), host: .current)
            addresses.formUnion(resolved.configuration.allAddresses)
        }
        return addresses
    }
}
