import HostModel
import HostOS
import LimaConfiguration

/// The disks that instances can have beside their own, in Lima's layout: `_disks/NAME/datadisk`, and the link `in_use_by`
/// to the directory of the instance that uses it.
package struct DiskStore: Sendable {
    private let home: LimaHome

    package init(home: LimaHome) { self.home = home }

    /// A disk that exists.
    package struct Disk: Sendable {
        package let name: InstanceName
        package let directory: String
        /// Bytes as a guest sees them; nil if the disk cannot be read.
        package let size: Int?
        /// QEMU's name of the format; nil if the disk cannot be read.
        package let format: String?
        /// The directory of the instance that the link names. It is a claim.
        package let user: String?

        package var file: String { directory + "/datadisk" }
    }

    private var root: String { home.path + "/_disks" }
    private func directory(_ name: InstanceName) -> String { "\(root)/\(name)" }
    private func link(_ name: InstanceName) -> String { directory(name) + "/in_use_by" }

    package var disks: [Disk] {
        ((try? Files.names(in: root)) ?? []).compactMap { (try? InstanceName($0)).flatMap(existing) }
    }

    private func existing(_ name: InstanceName) -> Disk? {
        let file = directory(name) + "/datadisk"
        guard Files.kind(file) == .regular else { return nil }
        let format = try? DiskFormat.of(file)
        return Disk(
            name: name, directory: directory(name), size: format.map { $0.virtualSize(of: file) },
            format: format?.name, user: Files.linkTarget(link(name)))
    }

    /// - Throws: `HostError` with `.unavailable` if there is no such disk.
    package func disk(_ name: InstanceName) throws(HostError) -> Disk {
        if let disk = existing(name) { return disk }
        throw HostError(
            .unavailable, "there is no disk \"\(name)\" in \(root)",
            hint: "hostagent disk create \(name) --size 10GiB makes one")
    }

    // MARK: Changes

    /// - Parameter size: bytes.
    package func create(_ name: InstanceName, size: Int, format: String) async throws {
        guard Files.kind(directory(name)) == nil else {
            throw HostError(.cannotCreate, "the disk \"\(name)\" already exists", hint: "hostagent disk list")
        }
        try await changing(name) {
            try Files.makeDirectory(root)
            try await TemporaryName.making(directory(name)) { temporary in
                try Files.makeDirectory(temporary)
                let create = ["create", "-q", "-f", format, temporary + "/datadisk", String(size)]
                try await run(create, "make")
            }
        }
    }

    package func resize(_ name: InstanceName, to size: Int) async throws {
        let disk = try disk(name)
        try requireFree(disk, "resize")
        guard let now = disk.size, let format = disk.format, size >= now else {
            throw HostError(
                .badConfiguration,
                "the disk \"\(name)\" has \(disk.size.map(ByteCount.format) ?? "an unknown size"); a disk can only grow"
            )
        }
        try await changing(name) {
            try await run(["resize", "-q", "-f", format, disk.file, String(size)], "resize")
        }
    }

    package func delete(_ name: InstanceName, force: Bool) async throws {
        let disk = try disk(name)
        if FileLock.isInUse(disk.file) { throw inUse(disk) }
        if !force {
            try requireFree(disk, "delete")
            let users = try home.instances().filter { instance in
                (try? Instance(instance))?.configuration.additionalDisks.contains { $0.name == name } ?? false
            }
            if let user = users.first {
                throw HostError(
                    .held,
                    "the disk \"\(name)\" belongs to the instance \"\(user.name)\", which names it in additionalDisks",
                    hint: "take it out of \(user.limaYAML), or delete it all the same with --force")
            }
        }
        try await changing(name) { try Files.remove(disk.directory) }
    }

    /// Removes the link of an instance that does not run.
    package func unlock(_ name: InstanceName) async throws {
        let disk = try disk(name)
        try requireFree(disk, "unlock")
        try await changing(name) { try Files.remove(link(name)) }
    }

    private func run(_ arguments: [String], _ verb: String) async throws {
        let result = try await Tool("qemu-img", arguments).run()
        guard result.succeeded else {
            throw HostError(.cannotCreate, "cannot \(verb) the disk: \(result.complaint)", hint: "is there room?")
        }
    }

    private func changing(_ name: InstanceName, _ work: () async throws -> Void) async throws {
        do {
            try await work()
        } catch let error as SystemCallError {
            throw HostError(
                .cannotCreate, "cannot change the disk \"\(name)\": \(error)",
                hint: error.isFull ? "make room on that disk" : nil)
        }
    }

    // MARK: Use

    /// A disk is in use while its user runs, or while any process has it locked, as QEMU does.
    private func isInUse(_ disk: Disk, except own: String?) -> Bool {
        if FileLock.isInUse(disk.file) { return true }
        guard let user = disk.user, user != own else { return false }
        return FileLock.isInUse(user + "/agent.lock")
    }

    private func inUse(_ disk: Disk) -> HostError {
        let user = disk.user.map { " by \($0)" } ?? " by another process"
        return HostError(
            .held, "the disk \"\(disk.name)\" is in use\(user)",
            hint: "stop the instance that uses it, or take the disk out of one lima.yaml")
    }

    private func requireFree(_ disk: Disk, _ verb: String) throws(HostError) {
        if isInUse(disk, except: nil) { throw inUse(disk) }
    }

    /// Gives the disks to an instance whose guest is about to start. A link that a crash left is replaced.
    /// - Returns: the disks, in the order of the names.
    /// - Throws: `HostError` if one does not exist or is in use.
    package func claim(_ names: [InstanceName], for instance: InstanceDirectory) async throws -> [Disk] {
        var claimed: [Disk] = []
        for name in names {
            let disk = try disk(name)
            let lockFile = disk.directory + "/claim.lock"
            do {
                guard let lock = try FileLock.acquire(path: lockFile) else { throw inUse(disk) }
                guard !isInUse(disk, except: instance.path) else { throw inUse(disk) }
                if disk.user != instance.path {
                    try Files.remove(link(name))
                    try Files.makeLink(link(name), to: instance.path)
                }
                lock.release()
            } catch let error as SystemCallError {
                throw HostError(.cannotCreate, "cannot use the disk \"\(name)\": \(error)")
            }
            claimed.append(disk)
        }
        return claimed
    }

    /// Gives back what a guest that has ended had. A disk that a process still has open is left alone.
    package func release(_ names: [InstanceName], by instance: InstanceDirectory) {
        for name in names {
            guard let disk = existing(name), disk.user == instance.path, !FileLock.isInUse(disk.file) else { continue }
            try? Files.remove(link(name))
        }
    }
}

extension FileLock {
    /// Whether somebody has a file locked; false if that cannot be told.
    fileprivate static func isInUse(_ path: String) -> Bool { (try? isHeld(path: path)) ?? false }
}
