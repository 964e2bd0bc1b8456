import Foundation
import GuestDriver
import HostModel
import HostOS
import NIOCore

/// Runs a guest as a QEMU process.
package struct QEMUDriver: GuestDriver {
    /// Where the driver keeps what it needs to find its guest again.
    package struct Places: Sendable {
        package var pidFile: String
        package var guestRecord: String
        package var errorLog: String
        /// Where verdicts about the host are kept: the first of these that can be written.
        package var cacheDirectories: [String]

        package init(pidFile: String, guestRecord: String, errorLog: String, cacheDirectories: [String]) {
            self.pidFile = pidFile
            self.guestRecord = guestRecord
            self.errorLog = errorLog
            self.cacheDirectories = cacheDirectories
        }
    }

    /// The machine but for what is decided at each start: accelerator and SSH port.
    private let machine: QEMUMachine
    private let places: Places
    private let accelerator: Accelerator?
    private let environment: [String: String]
    private let startedWith: [String: String]?
    private let makeReady: @Sendable () async throws -> Void

    /// - Parameters:
    ///   - accelerator: what the person wants; nil probes.
    ///   - environment: the variables of this process.
    ///   - startedWith: the configuration by which guests are launched, to be kept with their record.
    ///   - makeReady: makes the files the machine names, where they are missing.
    package init(
        machine: QEMUMachine, places: Places, accelerator: Accelerator?, environment: [String: String],
        startedWith: [String: String]?, makeReady: @escaping @Sendable () async throws -> Void
    ) {
        self.machine = machine
        self.places = places
        self.accelerator = accelerator
        self.environment = environment
        self.startedWith = startedWith
        self.makeReady = makeReady
    }

    package func prepare() async throws {
        _ = try binary()
        try await makeReady()
    }

    private func binary() throws(HostError) -> String {
        let name = QEMUMachine.binary(machine.architecture)
        guard let path = Tool.path(of: name, in: environment["PATH"]) else {
            throw HostError(
                .unavailable, "\(name) is not in PATH",
                hint: "install it: apt-get install qemu-system-\(machine.architecture == .x86_64 ? "x86" : "arm")")
        }
        return path
    }

    package func launch(sshLocalPort: Int) async throws -> any Guest {
        let binary = try binary()
        let probe = AcceleratorProbe(
            binary: binary, architecture: machine.architecture, processor: machine.processor,
            cacheDirectories: places.cacheDirectories)
        var machine = machine
        machine.sshLocalPort = sshLocalPort
        if let accelerator {
            machine.accelerator = accelerator
        } else {
            machine.accelerator = await probe.accelerator()
        }
        forget()
        try? Files.remove(places.errorLog)

        // Handed to QEMU in its own session with the signals of a session's end, a shutdown or a careless kill
        // blocked: only QMP and SIGKILL end it.
        let process = DetachedProcess(
            executable: binary, arguments: machine.arguments, environment: guestEnvironment, output: .null,
            error: .append(path: places.errorLog), blockedSignals: [15, 2, 1])
        let pid: Int32
        do {
            pid = try process.spawn()
        } catch {
            throw HostError(.unavailable, "cannot start \(binary): \(error.reason)")
        }
        guard let identity = ProcessIdentity.of(pid: pid) else {
            throw failure(of: ProcessIdentity.killedChild(pid).description)
        }
        do {
            try record(
                SurvivingGuest(
                    process: identity, accelerator: machine.accelerator, sshLocalPort: sshLocalPort,
                    startedWith: startedWith))
            let monitor = try await connect(to: identity, socket: machine.qmpSocket)
            for socket in sockets { socket.keep() }
            return QEMUGuest(
                identity: identity, accelerator: machine.accelerator, sshLocalPort: sshLocalPort, monitor: monitor,
                complaint: { [places] in Self.lastLine(of: places.errorLog) },
                revoke: accelerator == nil ? probe.revoke : nil)
        } catch {
            identity.signal(9)
            // Its end is waited for also when we were told to stop: the disk is free only then.
            _ = await Task { await identity.waitUntilEnded() }.value
            forget()
            throw error
        }
    }

    /// QEMU inherits the person's variables, but none that speak to a service manager in the agent's name.
    private var guestEnvironment: [String: String] {
        environment.filter {
            !["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"].contains($0.key)
        }
    }

    /// What leads to a guest that lives without an agent.
    private var sockets: [SpareName] { [SpareName(of: machine.qmpSocket), SpareName(of: machine.channelSocket)] }

    @discardableResult
    package func restoreSockets() -> Bool {
        // Each is looked at.
        sockets.map { $0.restore() }.contains(true)
    }

    package func survivor() throws -> SurvivingGuest? {
        restoreSockets()
        if let bytes = try? TextFile.bytes(places.guestRecord),
            let record = try? JSONDecoder().decode(GuestRecord.self, from: Data(bytes)), record.process.isAlive
        {
            return SurvivingGuest(
                process: record.process, accelerator: record.accelerator, sshLocalPort: record.sshLocalPort,
                startedWith: record.startedWith)
        }
        // An agent can die between spawning QEMU and writing its record: then the socket names the listener, and its
        // arguments tell the rest.
        // Where that is gone, too, the lock on its disk tells that there is one.
        let listener = UnixSocket.listener(path: machine.qmpSocket).flatMap(ProcessIdentity.of(pid:))
        guard let process = listener ?? userOfDisk() else { return nil }
        let pid = process.pid
        guard let found = QEMUMachine.facts(ofArguments: process.arguments) else {
            throw HostError(
                .held, "process \(pid) serves \(machine.qmpSocket) and is not a guest of hostagent",
                hint: "if it is Lima's, stop it with: limactl stop")
        }
        return SurvivingGuest(
            process: process, accelerator: found.accelerator, sshLocalPort: found.sshLocalPort, startedWith: nil)
    }

    /// The machine that has this disk open, where any process locks it.
    private func userOfDisk() -> ProcessIdentity? {
        guard (try? FileLock.isHeld(path: machine.disk.path)) == true else { return nil }
        return ProcessIdentity.all { QEMUMachine.uses(disk: machine.disk.path, arguments: $0) }.first
    }

    package func attach(_ survivor: SurvivingGuest) async throws -> any Guest {
        let process = survivor.process
        let monitor = try await monitor(of: process)
        // An agent of before may have given them none.
        for socket in sockets where !socket.isTrue { socket.keep() }
        // What is there from before names it as well; a full disk must not cost the guest.
        try? record(survivor)
        return QEMUGuest(
            identity: process, accelerator: survivor.accelerator, sshLocalPort: survivor.sshLocalPort,
            monitor: monitor,
            complaint: { [places] in Self.lastLine(of: places.errorLog) }, revoke: nil)
    }

    /// Silence means busy or hung, not dead: it is asked again for as long as a running guest would be.
    private func monitor(of process: ProcessIdentity) async throws -> QMPConnection {
        let deadline = ContinuousClock.now + .seconds(Self.attachLimit)
        // Nobody is shot for what another's socket, or none, does not answer.
        guard
            SpareName(of: machine.qmpSocket).isTrue || UnixSocket.listener(path: machine.qmpSocket) == process.pid
        else {
            throw HostError(
                .held,
                "cannot attach to QEMU, process \(process.pid): its socket \(machine.qmpSocket) was removed or replaced",
                hint: "shut the guest down from inside, over SSH; hostagent stop --force kills it")
        }
        while process.isAlive {
            do {
                return try await QMPConnection.open(socket: machine.qmpSocket, timeout: .seconds(10))
            } catch {
                guard ContinuousClock.now < deadline else { break }
                // One that refuses the connection would refuse it again at once.
                try? await Task.sleep(for: .milliseconds(200))
            }
        }
        guard process.isAlive else {
            throw HostError(.failed, "QEMU, process \(process.pid), ended while it was looked for")
        }
        process.signal(9)
        _ = await process.ended(within: .seconds(10))
        throw HostError(
            .failed, "QEMU, process \(process.pid), did not answer for \(Self.attachLimit) s and was killed")
    }

    /// Seconds a surviving guest's monitor is tried.
    private static let attachLimit = 60

    package func end(_ survivor: SurvivingGuest, grace: Int, force: Bool) async throws {
        let process = survivor.process
        do {
            let monitor = try await QMPConnection.open(socket: machine.qmpSocket, timeout: .seconds(5))
            defer { monitor.close() }
            if !force { await askToPowerOff(process, monitor, grace: grace) }
            if process.isAlive { try await monitor.execute("quit") }
        } catch QMPConnection.Failure.closed {
            // It ended before its answer was read.
        } catch {
            // Silence means busy or hung, not dead: without being told to, we do not shoot.
            guard force || !process.isAlive else {
                throw HostError(
                    .failed, "QEMU, process \(process.pid), does not answer: \(error)",
                    hint: "hostagent stop --force kills it; what the guest has not written to disk is lost")
            }
        }
        if await !process.ended(within: .seconds(10)) {
            process.signal(9)
            guard await process.ended(within: .seconds(10)) else {
                throw HostError(.failed, "QEMU, process \(process.pid), was killed and is still there")
            }
        }
        forget()
    }

    /// Presses the power button and waits until the guest has powered off, at most for the grace.
    private func askToPowerOff(_ process: ProcessIdentity, _ monitor: QMPConnection, grace: Int) async {
        let running = (try? await monitor.execute("query-status")) ?? nil
        guard running == "running", (try? await monitor.execute("system_powerdown")) != nil else { return }
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for await case .event(name: "SHUTDOWN", guest: _, reason: _) in monitor.events { return }
            }
            group.addTask { _ = await process.ended(within: .seconds(grace)) }
            await group.next()
            group.cancelAll()
        }
    }

    package func forget() {
        // The spare names first: by them the others could come back meanwhile.
        for socket in sockets { socket.remove() }
        for path in [places.guestRecord, places.pidFile, machine.qmpSocket, machine.channelSocket] {
            try? Files.remove(path)
        }
    }

    private struct GuestRecord: Codable {
        var driver: String
        var process: ProcessIdentity
        var accelerator: Accelerator
        var sshLocalPort: Int
        var startedWith: [String: String]?
    }

    private func record(_ guest: SurvivingGuest) throws(HostError) {
        do {
            let record = GuestRecord(
                driver: "qemu", process: guest.process, accelerator: guest.accelerator,
                sshLocalPort: guest.sshLocalPort, startedWith: guest.startedWith)
            try TextFile.replace(places.guestRecord, with: Array(try JSONEncoder().encode(record)))
            try TextFile.replace(places.pidFile, with: "\(guest.process.pid)\n")
        } catch {
            throw HostError(.cannotCreate, "cannot write \(places.guestRecord): \(error)")
        }
    }

    /// QEMU makes its socket some 30 ms after it was started, and nothing tells when: asked in short, growing steps,
    /// for as long as the process lives.
    private func connect(to process: ProcessIdentity, socket: String) async throws -> QMPConnection {
        var wait = Duration.milliseconds(2)
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            if UnixSocket.listener(path: socket) == process.pid {
                do {
                    return try await QMPConnection.open(socket: socket, timeout: .seconds(30))
                } catch {
                    // It opens its monitor before its disks: what it has to complain of comes with its end.
                    guard await process.ended(within: .seconds(2)) else { throw error }
                    throw failure(of: await process.waitUntilEnded()?.description ?? "is gone")
                }
            }
            guard process.isAlive else {
                let end = await process.waitUntilEnded()
                throw failure(of: end?.description ?? "is gone")
            }
            try await Task.sleep(for: wait)
            wait = min(wait * 5 / 4, .milliseconds(50))
        }
        throw HostError(.failed, "QEMU did not open \(socket) within 30 s")
    }

    private func failure(of end: String) -> HostError {
        let complaint = Self.lastLine(of: places.errorLog)
        let because = complaint.isEmpty ? "" : ": \(complaint)"
        if complaint.contains("Could not set up host forwarding rule") {
            return HostError(
                .unavailable, "the SSH port was taken while QEMU started\(because)",
                hint: "start again, or set ssh.localPort in lima.yaml to another port")
        }
        if complaint.contains("write\" lock") {
            return HostError(.held, "the disk is in use by another process\(because)")
        }
        if ["qcow2", "Image is not", "could not load", "invalid kernel"].contains(where: complaint.contains) {
            return HostError(
                .badConfiguration, "QEMU cannot use a file of the guest\(because)",
                hint: "the file is damaged; all that QEMU said is in \(places.errorLog)")
        }
        return HostError(
            complaint.contains("No space left") ? .cannotCreate : .failed, "QEMU \(end)\(because)",
            hint: "all that it said is in \(places.errorLog)")
    }

    private static func lastLine(of path: String) -> String {
        TextFile.tail(path, count: 4096).split(separator: "\n").last.map(String.init)?.trimmed ?? ""
    }
}
