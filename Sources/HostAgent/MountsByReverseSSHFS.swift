import GuestAccess
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Mounts
import Synchronization

/// The servers of mounts by reverse-sshfs, and what follows every server.
extension GuestMounts {
    static let replaced = "the directory was removed, moved or replaced"
    private static var firstPause: Backoff { Backoff(from: .milliseconds(100), to: .seconds(30)) }

    /// Sees to it that the mount has a server as long as the task runs.
    func serve(_ number: Int) async {
        // A location may be on a file system that hangs.
        let work = DiskWork("mount \(number)")
        var backoff = Self.firstPause
        var isToMount = state.withLock { $0.isUnderWay }
        while !Task.isCancelled {
            if let isToTell = await followSharer(of: number, work) {
                isToMount = isToTell
                continue
            }
            guard let (mount, server) = await server(number, work) else {
                isToMount = true
                guard let next = await pause(backoff, of: number, work) else { return }
                backoff = next
                continue
            }
            let isRenewed = state.withLock { $0.served.remove(number) != nil }
            if isRenewed || isToMount { channel?.send(.mountDirectories(renewed: isRenewed ? number : nil)) }
            isToMount = true
            let began = ContinuousClock.now
            let isReplaced = await follow(server, of: mount, number, work)
            guard !Task.isCancelled else { return }
            let isIntended = state.withLock { $0.renewed.remove(number) != nil }
            if isReplaced {
                lost(mount, Self.replaced)
                await end(number)
            } else if !isIntended {
                lost(mount, "its server has ended" + complaint(of: number))
            }
            if began.duration(to: .now) > .seconds(60) { backoff = Self.firstPause }
            guard (try? await backoff.pause()) != nil else { return }
        }
    }

    var channel: (any ChannelToGuest)? { state.withLock { $0.live?.channel } }

    /// Waits until the server has ended, or the path of the location leads to something else. The server would keep the
    /// directory that was there.
    /// - Returns: whether it was replaced.
    func follow(
        _ server: ProcessIdentity, of mount: Mount, _ number: Int, _ work: DiskWork
    ) async -> Bool {
        await withTaskGroup(of: Bool?.self) { group in
            group.addTask { [self] in
                await tellOfChanges(in: mount, number)
                return nil
            }
            group.addTask {
                _ = await server.waitUntilEnded()
                return false
            }
            group.addTask {
                if await Self.leadsElsewhere(mount.location, after: .losses, work) { return true }
                // It cannot be watched, or the task was cancelled. The server decides.
                _ = await server.waitUntilEnded()
                return false
            }
            defer { group.cancelAll() }
            for await isReplaced in group { if let isReplaced { return isReplaced } }
            return false
        }
    }

    /// Waits before a server is tried again: for what was missing in the place of the location, or for the time of the pause.
    /// - Returns: the next pause; nil if the task was cancelled.
    private func pause(_ backoff: Backoff, of number: Int, _ work: DiskWork) async -> Backoff? {
        let location = state.withLock { $0.plan.entries[number].mount.location }
        return await withTaskGroup(of: Backoff?.self) { group in
            group.addTask {
                var next = backoff
                return (try? await next.pause()) == nil ? nil : next
            }
            group.addTask {
                if await Self.leadsElsewhere(location, after: .arrivals, work) { return Self.firstPause }
                var next = backoff
                return (try? await next.pause()) == nil ? nil : next
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }

    /// Waits until the path leads to something else than now. Its parent directory tells.
    /// - Returns: false if that cannot be watched, or the task was cancelled.
    private static func leadsElsewhere(
        _ location: String, after change: DirectoryWatch.Change, _ work: DiskWork
    ) async -> Bool {
        let identity = await work.run { Files.identity(location) }
        let parent = location.split(separator: "/").dropLast().map { "/" + $0 }.joined()
        let watch = DirectoryWatch(path: parent.isEmpty ? "/" : parent, of: change)
        for await _ in watch.changes {
            if await work.run({ Files.identity(location) }) != identity { return true }
        }
        return false
    }

    /// Ends the server of a mount.
    /// - Returns: false if there was none that is proven to be this instance's.
    @discardableResult
    func end(_ number: Int) async -> Bool {
        let plan = state.withLock { $0.plan }
        guard let directory = plan.directory, let record = plan.entries[number].server else { return false }
        return await record.endConfined(in: directory.path)
    }

    func complaint(of number: Int) -> String {
        state.withLock { $0.plan.directory }.map { Self.complaint(in: $0.mountLog(number)) } ?? ""
    }

    /// A failure with what to do about it, on one line.
    static func sentence(_ error: any Error) -> String {
        (error as? HostError).map { $0.message + ($0.hint.map { "; \($0)" } ?? "") } ?? "\(error)"
    }

    /// The end of what a server has complained of, as the end of a sentence.
    static func complaint(in log: String) -> String {
        let complaint = TextFile.tail(log, count: 300).trimmed
        return complaint.isEmpty ? "" : ": \(complaint)"
    }

    /// Records the servers for the next agent.
    func save() async {
        do {
            try await disk.run { [self] in try state.withLock { $0.plan }.save() }
        } catch {
            log.emit(.warning("the next agent will not find the servers of the mounts: \(error)"))
        }
    }

    /// The server that an earlier agent left, or a new one.
    /// - Returns: nil if there can be none now, which has been reported.
    private func server(_ number: Int, _ work: DiskWork) async -> (Mount, ProcessIdentity)? {
        let plan = state.withLock { $0.plan }
        guard let directory = plan.directory else { return nil }
        let entry = plan.entries[number]
        if let server = entry.server, server.isAlive(in: directory.path) { return (entry.mount, server.process) }
        guard !Task.isCancelled else { return nil }
        do {
            // What was taken away on purpose is not made anew.
            let makesLocation = entry.server == nil && (!plan.isRecorded || entry.isAdded ?? false)
            let connection = try UnixSocket.connect(path: directory.mountSocket(number))
            let process = try await MountServer(
                entry.mount, log: directory.mountLog(number), searchPath: plan.searchPath
            ).startSFTP(on: connection, makesLocation: makesLocation, work)
            let record = HelperRecord(
                name: "file server", process: process, holds: InstanceDirectory.mountLogName(number))
            // The record may be that of another machine by now.
            guard !Task.isCancelled else {
                await record.endConfined(in: directory.path)
                return nil
            }
            state.withLock { $0.plan.entries[number].server = record }
            await save()
            // What is wrong with a location shows at once.
            if await process.ended(within: Self.trial), !Task.isCancelled {
                throw HostError(.unavailable, "the directory's server does not start" + complaint(of: number))
            }
            state.withLock { _ = $0.unserved.removeValue(forKey: number) }
            return (entry.mount, process)
        } catch {
            guard !Task.isCancelled else { return nil }
            let reason = Self.sentence(error)
            let isNew = state.withLock { $0.unserved.updateValue(reason, forKey: number) } != reason
            if isNew { fail(entry.mount, reason) }
            settle(number)
            return nil
        }
    }

    /// How long a server is watched that has just begun. The guest can use it meanwhile.
    static let trial = Duration.milliseconds(300)
}
