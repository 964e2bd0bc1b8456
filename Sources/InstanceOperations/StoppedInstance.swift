import HostModel
import HostOS
import InstanceStore

/// An instance that does not run, held so that no start can begin meanwhile.
struct StoppedInstance: ~Copyable {
    let directory: InstanceDirectory
    private let lock: FileLock

    /// - Parameter verb: what is about to be done, in messages.
    /// - Throws: `HostError` if the instance runs or another command works on it.
    init(_ directory: InstanceDirectory, to verb: String, _ context: OperationContext) throws {
        try directory.requireExistence()
        context.sweep(directory)
        if try DeleteOperation.isAlive(directory, context) {
            throw HostError(
                .held, "the instance \"\(directory.name)\" is running; it must be stopped to \(verb) it",
                hint: "hostagent stop \(directory.name)")
        }
        guard let lock = try FileLock.acquire(path: directory.agentLock) else {
            throw HostError(
                .held, "another command works on the instance \"\(directory.name)\" just now",
                hint: "hostagent list shows how it is")
        }
        self.directory = directory
        self.lock = lock
    }

    consuming func release() { lock.release() }
}
