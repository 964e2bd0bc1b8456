import GuestAccess
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Synchronization

/// Mounts by virtiofs. Their servers were there before the machine and cannot be replaced while it runs, so a mount that
/// loses its server goes on by reverse-sshfs.
extension GuestMounts {
    /// The machine has shared memory with servers.
    var machineShares: Bool { state.withLock { $0.plan.entries }.contains(where: \.isInMachine) }

    /// Says why mounts are not as `mountType` asks.
    func warnOfRefusals(_ entries: [MountPlan.Entry]) {
        var locations: [String: [String]] = [:]
        for entry in entries {
            if case .refused(let reason) = entry.offer { locations[reason, default: []].append(entry.mount.location) }
        }
        for (reason, locations) in locations.sorted(by: { $0.key < $1.key }) {
            log.emit(
                .warning(
                    "\(locations.joined(separator: ", ")): mounted by reverse-sshfs and not by virtiofs: \(reason)"))
        }
    }

    /// The guest cannot mount by virtiofs, and tries reverse-sshfs by itself.
    func giveUpSharing(_ number: Int, because reason: String) {
        let plan = state.withLock { $0.plan }
        guard plan.entries.indices.contains(number), let sharer = plan.sharer(of: number) else { return }
        let location = plan.entries[number].mount.location
        log.emit(.warning("\(location): mounted by reverse-sshfs and not by virtiofs: in the guest: \(reason)"))
        state.withLock { _ = $0.renewed.insert(number) }
        bag.start { [directory = plan.directory?.path ?? ""] in await sharer.endConfined(in: directory) }
    }

    /// Follows the server of a mount by virtiofs to its end.
    /// - Returns: whether the guest has to be told; nil if there is no such server.
    func followSharer(of number: Int, _ work: DiskWork) async -> Bool? {
        let plan = state.withLock { $0.plan }
        guard let sharer = plan.sharer(of: number) else { return nil }
        let (mount, directory) = (plan.entries[number].mount, plan.directory)
        // It may have ended while there was no agent.
        var isReplaced = false
        if sharer.isAlive(in: directory?.path ?? "") {
            // The guest can make it complain without end.
            let bound = bag.start {
                await BoundedLog(path: directory?.mountLog(number) ?? "", limit: 1 << 20).run()
            }
            defer { bound.cancel() }
            isReplaced = await follow(sharer.process, of: mount, number, work)
            if Task.isCancelled { return false }
            await sharer.endConfined(in: directory?.path ?? "")
        }
        let isDeclined = state.withLock { state in
            let isDeclined = state.renewed.remove(number) != nil
            state.plan.entries[number].offer = isDeclined ? .declined : .lost
            // The guest has to end its mount before there is another one.
            if !isDeclined { state.served.insert(number) }
            return isDeclined
        }
        await save()
        if !isDeclined {
            let reason = isReplaced ? Self.replaced : "virtiofsd has ended" + complaint(of: number)
            lost(mount, reason + "; the guest's kernel waits for its virtiofsd, also in sync(2): restart the guest")
        }
        return !isDeclined
    }
}
