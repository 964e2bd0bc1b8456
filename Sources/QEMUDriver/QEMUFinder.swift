import GuestDriver
import HostModel
import HostOS
import NIOCore

/// Finds an instance's QEMU process that lives without an agent.
package struct QEMUFinder: GuestFinder {
    /// What records call this driver.
    package static let driverName = "qemu"

    let paths: QEMUPaths
    private let evidence: Evidence

    package init(_ paths: QEMUPaths) {
        self.paths = paths
        // The disk may have been moved away under a running guest; it still has its console or its seed open.
        evidence = Evidence(directory: paths.directory, files: [paths.disk, paths.serialLog, paths.cidata])
    }

    // MARK: Finding

    package func survivor() throws -> SurvivingGuest? {
        restoreSockets()
        if let record = GuestRecord.load(paths.record), record.process.isAlive, evidence.proves(record.process) {
            return SurvivingGuest(record)
        }
        // An agent can die between spawning QEMU and writing its record: then a socket names its listener, or the lock on
        // the disk tells that there is one, and the process's arguments tell the rest.
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

    /// The machine that has this disk open, where any process locks it.
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
            .unavailable, "the guest's monitor, \(paths.qmpSocket), was removed: nobody could attach to it",
            hint: "restart the instance")
    }

    package func attach(_ survivor: SurvivingGuest, patience: Duration) async throws -> any Guest {
        let monitor = try await monitor(of: survivor.process, patience: patience)
        // An older agent may have given them none.
        for socket in paths.sockets where !socket.isTrue { socket.keep() }
        // What is there from before names it as well; a full disk must not cost the guest.
        try? save(survivor.record)
        return QEMUGuest(survivor.record, monitor: monitor, complaint: lastComplaint, revoke: nil)
    }

    /// QEMU's monitor. Silence means busy or hung, not dead: it is asked again while there is patience.
    private func monitor(of process: ProcessIdentity, patience: Duration) async throws -> QMPConnection {
        // Nobody is judged by what another's socket, or none, does not answer.
        guard SpareName(of: paths.qmpSocket).isTrue || UnixSocket.listener(path: paths.qmpSocket) == process.pid else {
            throw HostError(
                .held,
                "cannot attach to QEMU, process \(process.pid): its socket \(paths.qmpSocket) was removed or replaced",
                hint: "shut the guest down from inside, over SSH; hostagent stop --force kills it")
        }
        let deadline = ContinuousClock.now + patience
        // One that refuses the connection would refuse it again at once.
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
            : HostError(.failed, "QEMU, process \(process.pid), ended while it was looked for")
    }

    package func kill(_ survivor: SurvivingGuest) async -> Bool {
        guard evidence.signal(survivor.process, 9) else { return !survivor.process.isAlive }
        return await survivor.process.ended(within: .seconds(10))
    }

    // MARK: Names and records

    @discardableResult
    package func restoreSockets() -> Bool {
        // Each is looked at.
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
        // The spare names first: by them the others could come back meanwhile.
        for socket in paths.sockets { socket.remove() }
        for path in [paths.record, paths.pidFile, paths.qmpSocket, paths.channelSocket] { try? Files.remove(path) }
    }

    /// The last thing QEMU said on standard error.
    func lastComplaint() -> String {
        TextFile.tail(paths.errorLog, count: 4096).split(separator: "\n").last.map(String.init)?.trimmed ?? ""
    }
}
