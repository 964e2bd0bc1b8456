import ArgumentParser
import HostModel
import HostOS
import InstanceStore

struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes an instance with its disk.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "Stop it first, without asking its guest; remove it even if its files cannot be read.")
    var force = false

    func run() async throws {
        let context = CommandContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            return try await owner.delete(directory.name, force: force)
        }
        context.sweep(directory)
        if try Self.checkDeletable(directory, context) {
            guard force else { throw Self.isRunning(directory.name) }
            _ = try await Stopper(context: context, directory: directory).run(force: true)
        }
        // Registered, it would be started again, and fail, at every login or boot.
        _ = try await AutostartDisable.unregister(directory.name, context)
        do {
            try remove(directory, home: context.home())
        } catch let error as SystemCallError {
            if error.isMissing {
                throw HostError(.noSuchInstance, "the instance \"\(directory.name)\" was deleted meanwhile")
            }
            throw HostError(.notPermitted, "cannot remove \(directory.path): \(error)")
        }
        StandardStreams.output("deleted \(directory.name)\n")
    }

    static func isRunning(_ name: InstanceName) -> HostError {
        HostError(
            .held, "the instance \"\(name)\" is running",
            hint: "hostagent stop \(name) first, or hostagent delete --force \(name)")
    }

    /// - Returns: it is running, and has to be stopped first.
    /// - Throws: `HostError` where it may not be deleted at all.
    static func checkDeletable(_ directory: InstanceDirectory, _ context: CommandContext) throws -> Bool {
        if Files.kind(directory.protected) != nil {
            throw HostError(
                .notPermitted, "the instance \"\(directory.name)\" is protected",
                hint: "remove \(directory.protected) first")
        }
        if try !directory.isHeld(), let stranger = directory.stranger { throw directory.heldBy(stranger: stranger) }
        return try directory.isHeld() || context.orphan(directory) != nil
    }

    /// The lock keeps a start away; the new name makes it all or nothing.
    private func remove(_ directory: InstanceDirectory, home: LimaHome) throws {
        guard let lock = try FileLock.acquire(path: directory.agentLock) else {
            throw HostError(
                .held, "another command works on the instance \"\(directory.name)\" just now",
                hint: "hostagent list shows what became of it")
        }
        let doomed = home.path + "/" + Leftovers.name(for: "deleting", directory.name)
        try Files.move(directory.path, to: doomed)
        try Files.remove(doomed)
        lock.release()
    }
}
