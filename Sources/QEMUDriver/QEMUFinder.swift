import GuestDriver
import HostModel
import HostOS
import NIOCore

/// Finds an instance's QEMU process that runs without an agent.
package struct QEMUFinder: GuestFinder {
    /// The name of this driver in records.
    package static let driverName = "qemu"

    let paths: QEMUPaths
    private let evidence: Evidence

    package init(_ paths: QEMUPaths) {
        self.paths = paths
        // The disk may have been moved away from a running guest. Its console log or its seed is still open then.
        evidence = Evidence(directory: paths.directory, files: [paths.disk, paths.serialLog, paths.cidata])
    }

    // MARK: Finding

    package func survivor() throws -> SurvivingGuest? {
        if let record = GuestRecord.load(paths.record), record.process.isAlive, evidence.proves(record.process) {
            return SurvivingGuest(record)
        }
        // An agent can die between starting QEMU and writing its record. Then the listener of the socket or the holder
        // of the disk's lock leads to the process, and the process's arguments tell the rest.
        guard let process = listener ?? userOfDisk else { return nil }
        guard let found = QEMUMachine.facts(ofArguments: process.arguments) else {
            throw HostError(
                .held, "process \(process.pid) runs the guest of \(paths.directory) and was not started by hostagent",
                hint: "if it is Lima's, stop it with: limactl stop")
        }
        return SurvivingGuest(
            GuestRecord(
                driver: Self.driverName, process: process, accelerator: found.accelerator,
                sshLocalPort: found.sshLocalPort, configurationDigests: nil))
    }

    private var listener: ProcessIdentity? {
        UnixSocket.listener(path: paths.qmpSocket).flatMap(ProcessIdentity.of(pid:)).flatMap {
            evidence.proves($0) ? $0 : nil
        }
    }

    /// The process that has this disk open, when the disk is locked.
    private var userOfDisk: ProcessIdentity? {
        guard (try? FileLock.isHeld(path: paths.disk)) == true, let owner = Files.owner(paths.directory) else {
            return nil
        }
        return ProcessIdentity.all(ownedBy: owner).first { $0.hasOpen(paths.disk) && evidence.proves($0) }
    }

    // MARK: Connecting

    package var obstacle: HostError? {
        if Files.kind(paths.qmpSocket) == .socket { return nil }
        return HostError(
            .unavailable, "the guest's monitor, \(paths.qmpSocket), was removed: no agent can attach to it",
            hint: "restart the instance")
    }

    package func attach(_ survivor: SurvivingGuest, patience: Duration) async throws -> any Guest {
        // A machine that writes its memory is neither lost nor to be killed.
        let journal = SnapshotJournal(directory: paths.directory)
        let isWorking = journal.explainsSilence(of: survivor.process)
        let monitor = try await monitor(
            of: survivor.process, patience: isWorking ? .seconds(SnapshotJournal.limit) : patience)
        if isWorking, (try? await monitor.execute("query-status")) == "running" { journal.end() }
        // An older agent may not have created the hidden names.
        for socket in paths.sockets where !socket.isIntact { socket.keep() }
        // The guest can be found without this record too, so a full disk must not make attaching fail.
        try? save(survivor.record)
        return QEMUGuest(survivor.record, monitor: monitor, finder: self, withdrawVerdict: nil)
    }

    /// Connects to QEMU's monitor. A silent QEMU is busy or hung, not dead, so it is asked again until `patience` ends.
    private func monitor(of process: ProcessIdentity, patience: Duration) async throws -> QMPConnection {
        // Silence counts only on the process's own socket. It may have been removed, or replaced by that of another
        // process.
        guard leads(to: process) else {
            throw HostError(
                .held,
                "cannot attach to QEMU, process \(process.pid): its socket \(paths.qmpSocket) was removed or replaced",
                hint: "shut the guest down from inside, over SSH; hostagent stop --force kills it")
        }
        let deadline = ContinuousClock.now + patience
        // Wait between tries, because a refused connection would be refused again at once.
        var backoff = Backoff(from: .milliseconds(200), to: .milliseconds(200))
        while process.isAlive {
            do {
                return try await QMPConnection.open(socket: paths.qmpSocket, timeout: .seconds(5))
            } catch {
                guard ContinuousClock.now < deadline else { break }
                try await backoff.pause()
            }
        }
        throw process.isAlive
            ? HostError(.failed, "QEMU, process \(process.pid), does not answer")
            : HostError(.failed, "QEMU, process \(process.pid), ended before the connection was made")
    }

    /// Whether the monitor's socket belongs to this process. A socket with a full backlog cannot be asked. Its hidden
    /// name, given when it was created, then identifies it.
    private func leads(to process: ProcessIdentity) -> Bool {
        do {
            let connection = try UnixSocket.connect(path: paths.qmpSocket)
            return UnixSocket.peer(of: connection.number)?.pid == process.pid
        } catch {
            return error.isBusy && HiddenSocketName(of: paths.qmpSocket).isIntact
        }
    }

    package func kill(_ survivor: SurvivingGuest) async -> Bool {
        guard evidence.signal(survivor.process, 9) else { return !survivor.process.isAlive }
        return await survivor.process.ended(within: .seconds(10))
    }

    // MARK: Names and records

    @discardableResult
    package func restoreSockets() -> Bool {
        // `map` visits every socket, where `contains` alone would stop at the first.
        paths.sockets.map { $0.restore() }.contains(true)
    }

    @discardableResult
    package func restoreRecord(of guest: SurvivingGuest) -> Bool {
        guard Files.kind(paths.record) == nil || Files.kind(paths.pidFile) == nil else { return false }
        return (try? save(guest.record)) != nil
    }

    func save(_ record: GuestRecord) throws {
        try record.save(paths.record)
        try TextFile.replace(paths.pidFile, with: "\(record.process.pid)\n")
    }

    package func forget() {
        // The hidden names are removed first. Otherwise the sockets could be restored from them meanwhile.
        for socket in paths.sockets { socket.remove() }
        PasstNetwork.endUnused(paths)
        for path in [paths.record, paths.pidFile, paths.qmpSocket, paths.channelSocket, paths.networkLog] {
            try? Files.remove(path)
        }
    }

    /// The last line of QEMU's standard error.
    func lastComplaint() -> String {
        TextFile.tail(paths.errorLog, count: 4096).split(separator: "\n").last.map(String.init)?.trimmed ?? ""
    }
}
