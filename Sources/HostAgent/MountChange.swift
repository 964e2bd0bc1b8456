import GuestAccess
import HostModel
import InstanceStore
import LimaConfiguration

/// What has to happen so that a running guest has other mounts.
package struct MountChange: Sendable, Equatable {
    /// The numbers of the mounts that are taken away from the guest.
    package var withdrawn: [Int] = []
    /// The numbers of new mounts.
    package var added: [Int] = []
    /// A sentence for each mount that waits for the next start.
    package var waiting: [String] = []

    package init(withdrawn: [Int] = [], added: [Int] = [], waiting: [String] = []) {
        self.withdrawn = withdrawn
        self.added = added
        self.waiting = waiting
    }
}

extension MountPlan {
    /// The numbers of the mounts that the guest is to have.
    package var numbers: [Int] { entries.indices.filter { entries[$0].absence == nil } }

    /// What the guest is told to mount, and to give back.
    package var list: MountList {
        let lines = numbers.map {
            // The machine was made for virtiofs if that was offered, and its volume names it then.
            MountList.Line(
                number: $0, type: entries[$0].offer == nil ? .reverseSSHFS : .virtioFS, mount: entries[$0].mount)
        }
        // What is mounted within another mount leaves before it.
        let leaving = entries.indices.filter { entries[$0].absence == .leaving }
            .sorted { entries[$0].mount.mountPoint > entries[$1].mount.mountPoint }
        return MountList(lines, withdrawn: leaving)
    }

    /// Whether the guest has these mounts and no others.
    package func isCurrent(_ mounts: [Mount]) -> Bool {
        guard let directory else { return mounts.isEmpty }
        let current = numbers.map { entries[$0].mount }
        let wanted = mounts.map { $0.located(in: directory.path) }
        return current.count == wanted.count && wanted.allSatisfy(current.contains)
    }

    /// Plans other mounts for the running guest. A mount that stays keeps its number, and with it its client in the guest.
    package mutating func change(to mounts: [Mount]) -> MountChange {
        guard let directory else { return MountChange() }
        let wanted = mounts.map { $0.located(in: directory.path) }
        let leaving = numbers.filter { !wanted.contains(entries[$0].mount) }
        let coming = wanted.filter { mount in !numbers.contains { entries[$0].mount == mount } }
        if isLost {
            return MountChange(waiting: ["mounts cannot be changed before the next start: their record is lost"])
        }
        guard ports != nil else {
            let reason = "an earlier version of hostagent started the guest"
            return MountChange(
                waiting: leaving.map { Self.stays(entries[$0].mount, reason) } + coming.map { Self.waits($0, reason) })
        }
        var change = MountChange()
        var staying = numbers.filter { !leaving.contains($0) }.map { entries[$0].mount }
        for number in obstinate(leaving, among: staying) {
            let mount = entries[number].mount
            staying.append(mount)
            let isShared = sharer(of: number) != nil
            change.waiting.append(
                Self.stays(mount, isShared ? "it is mounted by virtiofs" : "another mount stays within it"))
        }
        for number in leaving where !staying.contains(entries[number].mount) {
            entries[number].absence = .leaving
            change.withdrawn.append(number)
        }
        for mount in coming {
            if let inner = staying.first(where: { $0.isWithin(mount) }) {
                change.waiting.append(Self.waits(mount, "\(inner.mountPoint) is mounted within it, or in its place"))
            } else if let number = freeNumber {
                let entry = Entry(mount: mount, isAdded: true)
                if number < entries.count { entries[number] = entry } else { entries.append(entry) }
                change.added.append(number)
            } else {
                change.waiting.append(Self.waits(mount, "the machine has no port to spare"))
            }
        }
        if !change.withdrawn.isEmpty || !change.added.isEmpty { isChanged = true }
        return change
    }

    /// Those of the leaving mounts that cannot be taken away now: the kernel of the guest would wait for a server by virtiofs,
    /// and a mount that stays within another one would go with it.
    private func obstinate(_ leaving: [Int], among others: [Mount]) -> [Int] {
        var staying = others
        var found: [Int] = []
        while let next = leaving.first(where: { number in
            !found.contains(number)
                && (sharer(of: number) != nil || staying.contains { $0.isWithin(entries[number].mount) })
        }) {
            found.append(next)
            staying.append(entries[next].mount)
        }
        return found
    }

    /// The number of a port that nothing uses. A guest that boots again knows the mounts of its machine's start at first, so
    /// their numbers are not given to others.
    private var freeNumber: Int? {
        entries.indices.first { entries[$0].absence == .gone && entries[$0].isAdded == true }
            ?? (entries.count < ports ?? 0 ? entries.count : nil)
    }

    private static func stays(_ mount: Mount, _ reason: String) -> String {
        "\(mount.mountPoint) stays mounted until the next start: \(reason)"
    }

    private static func waits(_ mount: Mount, _ reason: String) -> String {
        "\(mount.location) is mounted at \(mount.mountPoint) from the next start on: \(reason)"
    }
}
