import GuestAccess
import GuestDriver
import HostModel
import Synchronization

/// Mounts that come and go while the guest runs.
extension GuestMounts {
    /// How long a reload waits for the guest. mounts.sh is patient with a program that has files open.
    private static let patience = Duration.seconds(15)

    /// The ports for mounts that the machine has; nil if that is not known.
    var ports: Int? { state.withLock { $0.plan.ports } }

    /// Whether a mount waits for the next start of the guest.
    func hasOthers(than mounts: [Mount]) -> Bool {
        state.withLock { $0.live != nil && !$0.plan.isCurrent(mounts) }
    }

    /// Gives the guest other mounts, as far as that can be done while it runs.
    func change(to mounts: [Mount]) -> Settling {
        let settling = Settling()
        state.withLock { state in
            // A machine that is not there yet gets them when it is.
            guard state.live != nil else { return state.plan.note(mounts) }
            let change = state.plan.change(to: mounts)
            settling.complaints.withLock { $0 = change.waiting }
            guard !change.withdrawn.isEmpty || !change.added.isEmpty else { return }
            for number in change.withdrawn + change.added {
                state.reported.remove(number)
                state.served.remove(number)
                (state.retries[number], state.unserved[number]) = (nil, nil)
            }
            for number in change.withdrawn { state.tasks.removeValue(forKey: number)?.cancel() }
            // It goes on when nobody waits for it any more.
            let task = bag.start { [self] in
                let found = await carryOut(change)
                settling.complaints.withLock { $0 += found }
            }
            settling.work.withLock { $0 = task }
        }
        return settling
    }

    /// A change of mounts on its way.
    final class Settling: Sendable {
        fileprivate let complaints = Mutex<[String]>([])
        fileprivate let work = Mutex<Task<Void, Never>?>(nil)

        /// Waits until the guest has what it can have.
        /// - Returns: a sentence for each mount that is not as it shall be.
        func finished() async -> [String] {
            await work.withLock { $0 }?.value
            return complaints.withLock { $0 }
        }
    }

    private func carryOut(_ change: MountChange) async -> [String] {
        // If this agent ends now, the next one knows what the guest is to have.
        await save()
        let ends = (change.withdrawn + change.added).map { (number: $0, wait: settled($0)) }
        state.withLock { state in
            guard let live = state.live else { return }
            live.channel?.send(.setMounts(state.plan.list))
            for number in change.added { startTask(number, &state) }
        }
        return await withTaskGroup(of: String?.self) { group in
            for (number, wait) in ends {
                group.addTask { [self] in
                    await wait()
                    return change.withdrawn.contains(number) ? await withdraw(number) : complaint(aboutNew: number)
                }
            }
            return await group.reduce(into: []) { if let complaint = $1 { $0.append(complaint) } }
        }
    }

    /// Ends what a change has left when an earlier agent ended in the middle of it, and tells the guest again.
    func finishChange() {
        bag.start { [self] in
            let plan = state.withLock { $0.plan }
            channel?.send(.setMounts(plan.list))
            for number in plan.entries.indices where plan.entries[number].absence == .leaving { await withdraw(number) }
        }
    }

    /// Ends the server of a mount that the guest has given back, or had time enough to.
    @discardableResult
    private func withdraw(_ number: Int) async -> String? {
        let mount = state.withLock { $0.plan.entries[number].mount }
        await end(number)
        state.withLock { $0.plan.release(number) }
        await save()
        log.emit(.mount(mount, .removed))
        // It may have been missing, and is not any more.
        tell(.partWorks(mount.mountPoint))
        return nil
    }

    private func complaint(aboutNew number: Int) -> String? {
        state.withLock { state in
            guard !state.served.contains(number) else { return nil }
            let mount = state.plan.entries[number].mount
            let reason = state.unserved[number] ?? "the guest has not mounted it"
            return "\(mount.location) is not mounted at \(mount.mountPoint): \(reason)"
        }
    }

    /// - Returns: waits until the mount is settled, for a limited time.
    private func settled(_ number: Int) -> @Sendable () async -> Void {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        state.withLock { $0.awaited.updateValue(continuation, forKey: number) }?.finish()
        return { _ = try? await withTimeLimit(Self.patience) { for await _ in stream {} } }
    }

    /// The guest has said what became of a mount, or the host knows.
    func settle(_ number: Int) { state.withLock { $0.awaited.removeValue(forKey: number) }?.finish() }
}
