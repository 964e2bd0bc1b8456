import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

/// Runs as `ExecStopPost=` of a unit. Ends a guest that outlived its agent, but only when the unit is being stopped.
struct Reap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "For units.", shouldDisplay: false)

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        guard try await SystemdJob.isStoppingOwnUnit(of: directory.name) else { return }
        context.sweep(directory)
        guard let lock = try FileLock.acquire(path: directory.agentLock) else { return }
        do {
            _ = try await context.endOrphan(directory, false)
        } catch {
            // The guest does not answer, and the manager is about to kill it. QEMU flushes the disks when it ends.
            _ = try await context.endOrphan(directory, true)
        }
        lock.release()
    }
}
