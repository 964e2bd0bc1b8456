import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// Removes an instance with its disk.
package struct DeleteOperation: Sendable {
    private let context: OperationContext
    private let directory: InstanceDirectory

    package init(context: OperationContext, directory: InstanceDirectory) {
        self.context = context
        self.directory = directory
    }

    /// - Parameter force: stop it first, without asking its guest.
    /// - Throws: `HostError`; the instance is then unchanged, but its registration may be gone.
    package func run(force: Bool) async throws -> DeleteResult {
        context.sweep(directory)
        try requireInstance(force: force)
        let isRunning = try Self.isRunning(directory, context)
        if isRunning {
            guard force else { throw Self.runningError(directory.name) }
            _ = try await StopOperation(context: context, directory: directory).run(force: true)
        }
        // If it stayed registered, its start would fail at every login or boot.
        let unregistered = try await AutostartOperation(context: context).disable(directory.name)
        for note in unregistered.notes { context.progress(.note(note)) }
        do {
            try remove()
        } catch let error as SystemCallError {
            if error.isMissing {
                throw HostError(.noSuchInstance, "the instance \"\(directory.name)\" was deleted meanwhile")
            }
            throw HostError(.notPermitted, "cannot remove \(directory.path): \(error)")
        }
        return DeleteResult(
            name: directory.name.text, dir: directory.path, wasStopped: isRunning,
            wasRegistered: unregistered.outcome == .unregistered)
    }

    /// What `run` would do.
    package func plan(force: Bool) throws -> OperationPlan {
        try requireInstance(force: force)
        let isRunning = try Self.isRunning(directory, context)
        if isRunning, !force { throw Self.runningError(directory.name) }
        let registration = context.registration(of: directory).map { ["remove \($0.file)"] } ?? []
        return OperationPlan(
            name: directory.name.text,
            steps: (isRunning ? ["end the guest without asking it"] : []) + registration
                + ["remove \(directory.path) with all that is in it"])
    }

    /// A directory without a `lima.yaml` may be something else that somebody keeps there.
    private func requireInstance(force: Bool) throws(HostError) {
        try directory.requireExistence()
        guard !force, Files.kind(directory.limaYAML) == nil else { return }
        throw HostError(
            .badConfiguration, "\(directory.path) has no lima.yaml, so it may not be an instance",
            hint: "hostagent delete --force \(directory.name) removes it with all that is in it")
    }

    package static func runningError(_ name: InstanceName) -> HostError {
        HostError(
            .held, "the instance \"\(name)\" is running",
            hint: "hostagent stop \(name) first, or hostagent delete --force \(name)")
    }

    /// - Returns: whether it is running and has to be stopped first.
    /// - Throws: `HostError` when it may not be deleted.
    package static func isRunning(_ directory: InstanceDirectory, _ context: OperationContext) throws -> Bool {
        try ProtectOperation.require(unprotected: directory)
        return try isAlive(directory, context)
    }

    /// Whether an agent or a guest of the instance is there.
    static func isAlive(_ directory: InstanceDirectory, _ context: OperationContext) throws -> Bool {
        if try !directory.isHeld(), let stranger = directory.stranger { throw directory.heldBy(stranger: stranger) }
        return try directory.isHeld() || context.orphan(directory) != nil
    }

    /// The lock prevents a start. The directory is renamed first, so that no half instance
    /// is left when the removal is interrupted.
    private func remove() throws {
        guard let lock = try FileLock.acquire(path: directory.agentLock) else {
            throw HostError(
                .held, "another command works on the instance \"\(directory.name)\" just now",
                hint: "hostagent list shows what became of it")
        }
        let doomed = directory.home + "/" + Leftovers.name(for: "deleting", directory.name)
        try Files.move(directory.path, to: doomed)
        try Files.remove(doomed)
        lock.release()
    }
}
