import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Mounts

/// The servers of mounts by virtiofs. A machine connects to them when it is made, so they are there before it.
package enum SharedDirectories {
    /// A location that does not answer does not keep the guest from its start.
    private static let limit = Duration.seconds(15)

    /// Starts a server for each mount and records it. A mount that can have none is mounted by reverse-sshfs, and the record
    /// says why. Servers that no machine has used are ended.
    /// - Parameter searchPath: the value of `PATH`.
    /// - Returns: the numbers of the mounts that have a server.
    /// - Throws: `HostError` if the record cannot be written.
    package static func start(
        _ mounts: [Mount], of directory: InstanceDirectory, searchPath: String?
    ) async throws -> [Int] {
        await end(in: directory)
        let plan = MountPlan(
            mounts, ports: Mount.ports(forMounts: mounts.count), of: directory, isRecorded: false,
            searchPath: searchPath)
        let starts = Starts(plan)
        for (number, entry) in plan.entries.enumerated() {
            // Not a child of this task, because it may wait for a hung file system for ever.
            Task {
                await start(entry.mount, number, in: directory, searchPath, starts)
                await starts.finish()
            }
        }
        _ = try await withTimeLimit(limit) { for await _ in starts.progress {} }
        return try await starts.close()
    }

    private static func start(
        _ mount: Mount, _ number: Int, in directory: InstanceDirectory, _ searchPath: String?, _ starts: Starts
    ) async {
        let log = directory.mountLog(number)
        do {
            try? Files.remove(log)
            let process = try await MountServer(mount, log: log, searchPath: searchPath)
                .startVirtioFS(on: directory.sharingSocket(number), DiskWork("mount \(number)"))
            let record = HelperRecord(
                name: "virtiofsd", process: process, holds: InstanceDirectory.mountLogName(number))
            guard await starts.take(number, .served(record)) else {
                await record.endConfined(in: directory.path)
                return
            }
            // The machine could not be made with a server that ends at once.
            if await process.ended(within: GuestMounts.trial) {
                let complaint = GuestMounts.complaint(in: log)
                await starts.take(number, .refused(reason: "virtiofsd does not start" + complaint))
            }
        } catch {
            await starts.take(number, .refused(reason: GuestMounts.sentence(error)))
        }
    }

    /// Ends the servers on record. Those that a machine has used have ended with it.
    static func end(in directory: InstanceDirectory) async {
        for entry in MountPlan.recorded(in: directory) ?? [] {
            guard case .served(let record) = entry.offer else { continue }
            await record.endConfined(in: directory.path)
        }
    }

    /// What became of the servers so far, on record at each moment.
    private actor Starts {
        private var plan: MountPlan
        private var unfinished: Int
        private var isClosed = false
        private var failure: SystemCallError?
        /// Ends when all servers have started, or cannot.
        nonisolated let progress: AsyncStream<Void>
        private let continuation: AsyncStream<Void>.Continuation

        init(_ plan: MountPlan) {
            self.plan = plan
            unfinished = plan.entries.count
            (progress, continuation) = AsyncStream.makeStream(of: Void.self)
            for number in plan.entries.indices {
                let seconds = limit.components.seconds
                self.plan.offer(
                    number,
                    .refused(reason: "\(plan.entries[number].mount.location) did not answer within \(seconds) s"))
            }
            if unfinished == 0 { continuation.finish() }
        }

        /// - Returns: false if it comes too late.
        @discardableResult
        func take(_ number: Int, _ offer: MountPlan.Offer) -> Bool {
            guard !isClosed else { return false }
            plan.offer(number, offer)
            do {
                try plan.save()
            } catch {
                failure = failure ?? error as? SystemCallError
            }
            return true
        }

        func finish() {
            unfinished -= 1
            if unfinished == 0 { continuation.finish() }
        }

        /// - Returns: the numbers of the mounts that have a server.
        func close() throws -> [Int] {
            isClosed = true
            if let failure {
                throw HostError(.cannotCreate, "cannot record the servers of the mounts: \(failure)")
            }
            try plan.save()
            return plan.entries.indices.filter { plan.sharer(of: $0)?.process.isAlive ?? false }
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
