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

    /// Gives the guest other mounts, as far as that can be done while it runs. Changes are made one after the other, and each
    /// takes the newest mounts that were asked for. A machine that is not there yet gets them when it is.
    func change(to mounts: [Mount]) -> Settling {
        state.withLock { state in
            state.plan.latest = mounts
            let settling = Settling()
            let task = bag.start { [self, before = state.change] in
                await before?.value
                let found = await changeNow()
                settling.complaints.withLock { $0 = found }
            }
            state.change = task
            settling.task.withLock { $0 = task }
            return settling
        }
    }

    /// A change of mounts on its way. It goes on when nobody waits for it any more.
    final class Settling: Sendable {
        fileprivate let complaints = Mutex<[String]>([])
        fileprivate let task = Mutex<Task<Void, Never>?>(nil)

        /// Waits until the guest has what it can have.
        /// - Returns: a sentence for each mount that is not as it shall be.
        func finished() async -> [String] {
            await task.withLock { $0 }?.value
            return complaints.withLock { $0 }
        }
    }

    private func changeNow() async -> [String] {
        let change = state.withLock { state -> MountChange in
            guard state.live != nil, let latest = state.plan.latest else { return MountChange() }
            if state.isSuspended {
                return MountChange(waiting: ["mounts are not changed while a snapshot is applied; reload again"])
            }
            let change = state.plan.change(to: latest)
            for number in change.withdrawn + change.added {
                state.reported.remove(number)
                state.served.remove(number)
                (state.retries[number], state.unserved[number]) = (nil, nil)
            }
            // Its server goes on until the guest has given the mount back.
            for number in change.withdrawn { state.tasks[number]?.cancel() }
            return change
        }
        let numbers = change.withdrawn + change.added
        if numbers.isEmpty { return change.waiting }
        // If this agent ends now, the next one knows what the guest is to have.
        await save()
        let waits = numbers.map(settlement)
        let isTold = state.withLock { state in
            for number in change.added { startTask(number, &state) }
            guard let channel = state.live?.channel else { return false }
            channel.send(.setMounts(state.plan.list))
            return true
        }
        guard isTold else {
            return change.waiting + ["the guest cannot be told of its mounts, because its channel is closed"]
        }
        await withTaskGroup { group in
            for wait in waits { group.addTask { await wait() } }
        }
        return change.waiting + complaints(about: numbers)
    }

    /// Tells the guest again what an earlier agent may not have told it.
    func finishChange() {
        let plan = state.withLock { $0.plan }
        channel?.send(.setMounts(plan.list))
    }

    /// The guest has given a mount back, or can have it no longer. Its server ends.
    func finishWithdrawal(_ number: Int) {
        bag.start { [self] in
            let isFirst = state.withLock { state in
                state.plan.entries[number].absence == .leaving && state.ending.insert(number).inserted
            }
            guard isFirst else { return }
            await end(number)
            // The number is not free before nobody works for it any more.
            await state.withLock { $0.tasks.removeValue(forKey: number) }?.value
            let (mount, isReplaced) = state.withLock { state in
                let mount = state.plan.entries[number].mount
                state.ending.remove(number)
                if state.plan.entries[number].absence == .leaving { state.plan.release(number) }
                return (
                    mount, state.plan.numbers.contains { state.plan.entries[$0].mount.mountPoint == mount.mountPoint }
                )
            }
            await save()
            log.emit(.mount(mount, .removed))
            // It may have been missing, and is not any more.
            if !isReplaced { tell(.partWorks(mount.mountPoint)) }
            settle(number)
        }
    }

    private func complaints(about numbers: [Int]) -> [String] {
        state.withLock { state in
            numbers.compactMap { number in
                let entry = state.plan.entries[number]
                switch entry.absence {
                case .gone: return nil
                case .leaving:
                    return "\(entry.mount.mountPoint) is not unmounted in the guest yet; the host serves it until it is"
                case nil where state.served.contains(number): return nil
                case nil: return Self.missing(entry.mount, state.unserved[number] ?? "the guest has not mounted it yet")
                }
            }
        }
    }

    /// - Returns: what waits until the mount is settled, for a limited time.
    private func settlement(of number: Int) -> @Sendable () async -> Void {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
        state.withLock { $0.awaited.updateValue(continuation, forKey: number) }?.finish()
        return { _ = try? await withTimeLimit(Self.patience) { for await _ in stream {} } }
    }

    /// It is known what became of the mount.
    func settle(_ number: Int) { state.withLock { $0.awaited.removeValue(forKey: number) }?.finish() }
}
