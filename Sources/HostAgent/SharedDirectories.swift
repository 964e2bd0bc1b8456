import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Mounts

/// The servers of mounts by virtiofs. A machine connects to them when it is made, so they are there before it.
package enum SharedDirectories {
    /// Starts a server for each mount and records it. A mount that can have none is mounted by reverse-sshfs, and the record
    /// says why. Servers that no machine has used are ended.
    /// - Parameter searchPath: the value of `PATH`.
    /// - Returns: the numbers of the mounts that have a server.
    /// - Throws: `HostError` if the record cannot be written.
    package static func start(
        _ mounts: [Mount], of directory: InstanceDirectory, searchPath: String?
    ) async throws -> [Int] {
        await end(in: directory)
        var plan = MountPlan(mounts, of: directory, isRecorded: false, searchPath: searchPath)
        let mounts = plan.entries.map(\.mount)
        plan.offer(
            await withTaskGroup(of: (Int, MountPlan.Offer).self, returning: [Int: MountPlan.Offer].self) { group in
                for (number, mount) in mounts.enumerated() {
                    group.addTask { (number, await offer(mount, number, in: directory, searchPath)) }
                }
                return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
            })
        do {
            try plan.save()
        } catch {
            throw HostError(.cannotCreate, "cannot record the servers of the mounts: \(error)")
        }
        return mounts.indices.filter { plan.sharer(of: $0) != nil }
    }

    private static func offer(
        _ mount: Mount, _ number: Int, in directory: InstanceDirectory, _ searchPath: String?
    ) async -> MountPlan.Offer {
        let log = directory.mountLog(number)
        do {
            let process = try await VirtioFSServer(mount, log: log, searchPath: searchPath)
                .start(on: directory.sharingSocket(number), DiskWork("mount \(number)"))
            let record = HelperRecord(
                name: "virtiofsd", process: process, holds: InstanceDirectory.mountLogName(number))
            // The machine could not be made with a server that ends at once.
            guard await process.ended(within: GuestMounts.trial) else { return .served(record) }
            return .refused(reason: "virtiofsd does not start" + GuestMounts.complaint(in: log))
        } catch {
            let reason = (error as? HostError).map { $0.message + ($0.hint.map { "; \($0)" } ?? "") } ?? "\(error)"
            return .refused(reason: reason)
        }
    }

    /// Ends the servers on record. Those that a machine has used have ended with it.
    static func end(in directory: InstanceDirectory) async {
        for entry in MountPlan.recorded(in: directory) ?? [] {
            guard case .served(let record) = entry.offer else { continue }
            await record.endConfined(in: directory.path)
        }
    }
}

extension HelperRecord {
    /// Ends a server that another process confines, which is the one on record. It ends with the server.
    /// - Returns: false if there is none that is proven to be this instance's.
    @discardableResult
    func endConfined(in directory: String) async -> Bool {
        guard isAlive(in: directory) else { return false }
        for server in process.children { server.signal(9) }
        if await !process.ended(within: .seconds(2)) { await end(in: directory) }
        return true
    }
}
