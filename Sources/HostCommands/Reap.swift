import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagement

/// `ExecStopPost=` of a unit: ends a guest that outlived its agent where the unit is to be stopped, and nowhere else.
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
            // It does not answer, and the manager is about to cut its power: its disks are flushed by QEMU's end.
            _ = try await context.endOrphan(directory, true)
        }
        lock.release()
    }
}
