import GuestDriver
import HostModel
import HostOS
import NIOCore
import Synchronization

/// Runs a guest as a QEMU process.
package struct QEMUDriver: GuestDriver {
    /// The machine, without what each start decides: accelerator and SSH port.
    private let machine: QEMUMachine
    private let qemu: QEMUFinder
    private let accelerator: Accelerator?
    private let environment: [String: String]
    private let configurationDigests: [String: String]?
    /// Candidates for where verdicts about the host are kept. The first that can be written is used.
    private let cacheDirectories: [String]
    /// What `prepare` found. Copies of the driver share it.
    private let prepared = SharedParts()
    private let minimumVersion: String?
    private let isNewer: @Sendable (String, String) -> Bool
    private let makeReady: @Sendable (@escaping TransferProgress.Report) async throws -> PreparedParts

    package var finder: any GuestFinder { qemu }
    private var paths: QEMUPaths { qemu.paths }

    package var capabilities: GuestCapabilities {
        GuestCapabilities(
            canSuspend: .no(because: "hostagent does not suspend guests yet"), outlivesAgent: .yes)
    }

    /// - Parameters:
    ///   - accelerator: the accelerator the person chose; nil probes.
    ///   - environment: the variables of this process.
    ///   - configurationDigests: digests of the configuration that guests are launched with, stored in their records.
    ///   - cacheDirectories: candidates for where verdicts about the host are kept. The first that can be written is
    ///     used.
    ///   - minimumVersion: the oldest version of QEMU that may be used.
    ///   - isNewer: whether its first version is newer than its second.
    ///   - makeReady: creates the files that the machine names, if they are missing, and takes the additional disks. The choice
    ///     among several images may be made here.
    package init(
        machine: QEMUMachine, accelerator: Accelerator?, environment: [String: String],
        configurationDigests: [String: String]?, cacheDirectories: [String],
        minimumVersion: String? = nil, isNewer: @escaping @Sendable (String, String) -> Bool = { _, _ in false },
        makeReady: @escaping @Sendable (@escaping TransferProgress.Report) async throws -> PreparedParts
    ) {
        self.machine = machine
        qemu = QEMUFinder(machine.paths)
        self.accelerator = accelerator
        self.environment = environment
        self.configurationDigests = configurationDigests
        self.cacheDirectories = cacheDirectories
        self.minimumVersion = minimumVersion
        self.isNewer = isNewer
        self.makeReady = makeReady
    }

    package func prepare(report: @escaping TransferProgress.Report) async throws {
        try await checkVersion(of: try binary())
        // It may hold the port of the guest's SSH server.
        PasstNetwork.endUnused(paths)
        let parts = try await makeReady(report)
        prepared.withLock { $0 = parts }
    }

    /// "QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7+deb12u12)"
    private func version(of binary: String) async throws -> String? {
        let answer = try await Tool(binary, ["--version"]).run()
        return answer.output.split(separator: " ").drop { $0 != "version" }.dropFirst().first.map(String.init)
    }

    /// Refuses a QEMU that is older than the configuration asks for.
    private func checkVersion(of binary: String) async throws {
        guard let minimumVersion else { return }
        let version = try await version(of: binary)
        guard let version, !isNewer(minimumVersion, version) else {
            throw HostError(
                .unavailable,
                "vmOpts.qemu.minimumVersion is \(minimumVersion), and \(binary) has the version \(version ?? "?")",
                hint: "install a newer QEMU")
        }
    }

    private func binary() throws(HostError) -> String {
        let name = QEMUMachine.binary(machine.architecture)
        guard let path = Tool.path(of: name, in: environment["PATH"]) else {
            throw HostError(
                .unavailable, "\(name) is not in PATH",
                hint: HostPackages.install(
                    "qemu-system-\(machine.architecture == .x86_64 ? "x86" : "arm")", homebrew: "qemu"))
        }
        return path
    }

    package func launch(sshLocalPort: Int, notice: BootNotice) async throws -> any Guest {
        let binary = try binary()
        let probe = AcceleratorProbe(
            binary: binary, architecture: machine.architecture, processor: machine.processor,
            cacheDirectories: cacheDirectories)
        var machine = machine
        machine.sshLocalPort = sshLocalPort
        if let parts = prepared.withLock({ $0 }) {
            machine.boot = parts.boot
            machine.diskFormat = parts.diskFormat
            machine.additionalDevices = parts.additionalDevices
        }
        machine.tell(notice)
        if let accelerator {
            machine.accelerator = accelerator
        } else {
            machine.accelerator = await probe.accelerator()
        }
        qemu.forget()
        guard machine.network == .passt else { return try await launch(machine, binary, probe, network: nil) }
        // In seconds, then in milliseconds: qemu(1), `-netdev stream`.
        let version = try await version(of: binary) ?? "0"
        machine.networkReconnection =
            isNewer("8.0", version) ? nil : isNewer("9.2", version) ? ",reconnect=1" : ",reconnect-ms=10"
        let network = PasstNetwork(paths, sshLocalPort: sshLocalPort, searchPath: environment["PATH"])
        let helper = try await network.start()
        do {
            return try await launch(machine, binary, probe, network: (network, helper))
        } catch {
            // It still waits for its machine.
            await PasstNetwork.end(helper.process)
            throw error
        }
    }

    private func launch(
        _ machine: QEMUMachine, _ binary: String, _ probe: AcceleratorProbe,
        network: (passt: PasstNetwork, helper: HelperRecord)?
    ) async throws -> any Guest {
        try? Files.remove(paths.errorLog)
        // The console log of the previous boot is kept beside the new one.
        try? Files.move(paths.serialLog, to: paths.serialLog + ".1")

        // QEMU has its own session, and the signals of a session's end, a shutdown or a careless kill are blocked in
        // it. Only QMP and SIGKILL end it.
        let process = DetachedProcess(
            executable: binary, arguments: machine.arguments, environment: guestEnvironment, output: .null,
            error: .append(path: paths.errorLog), blockedSignals: [15, 2, 1])
        let pid: Int32
        do {
            pid = try process.spawn()
        } catch {
            throw HostError(.unavailable, "cannot start \(binary): \(error.reason)")
        }
        guard let identity = ProcessIdentity.of(pid: pid) else {
            throw failure(of: ProcessIdentity.killedChild(pid).description)
        }
        var record = GuestRecord(
            driver: QEMUFinder.driverName, process: identity, accelerator: machine.accelerator,
            sshLocalPort: machine.sshLocalPort, configurationDigests: configurationDigests)
        record.helpers = network.map { [$0.helper] }
        do {
            try qemu.save(record)
            let monitor = try await connect(to: identity, socket: paths.qmpSocket)
            for socket in paths.sockets { socket.keep() }
            return QEMUGuest(
                record, monitor: monitor, finder: qemu,
                withdrawVerdict: accelerator == nil ? probe.withdrawVerdict : nil)
        } catch {
            identity.signal(9)
            // Wait for its end even if this task is cancelled: only then is the disk free.
            _ = await Task { await identity.waitUntilEnded() }.value
            qemu.forget()
            throw error
        }
    }

    /// QEMU inherits the person's variables, except those that let it talk to a service manager in the agent's name.
    private var guestEnvironment: [String: String] {
        environment.filter {
            !["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"].contains($0.key)
        }
    }

    /// Connects to QEMU's monitor. QEMU creates its socket about 30 ms after its start, and no event reports it. So the
    /// socket is tried in short, growing steps while the process lives.
    private func connect(to process: ProcessIdentity, socket: String) async throws -> QMPConnection {
        var backoff = Backoff(from: .milliseconds(2), to: .milliseconds(50), factor: 1.25)
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            if UnixSocket.listener(path: socket) == process.pid {
                do {
                    return try await QMPConnection.open(socket: socket, timeout: .seconds(30))
                } catch {
                    // QEMU opens its monitor before its disks, so it reports a bad disk only when it ends.
                    let end = try await withTimeLimit(.seconds(2)) { await process.waitUntilEnded() }
                    guard let end else { throw error }
                    throw failure(of: end?.description ?? "is gone")
                }
            }
            guard process.isAlive else {
                let end = await process.waitUntilEnded()
                throw failure(of: end?.description ?? "is gone")
            }
            try await backoff.pause()
        }
        throw HostError(.failed, "QEMU did not open \(socket) within 30 s")
    }

    private func failure(of end: String) -> HostError {
        let complaint = qemu.lastComplaint()
        let because = complaint.isEmpty ? "" : ": \(complaint)"
        if complaint.contains("Could not set up host forwarding rule") {
            return HostError(
                .unavailable, "the SSH port was taken while QEMU started\(because)",
                hint: "start again, or set ssh.localPort in lima.yaml to another port")
        }
        if complaint.contains("write\" lock") || complaint.contains("another process using the image") {
            return HostError(.held, "the disk is in use by another process\(because)")
        }
        if ["qcow2", "Image is not", "could not load", "invalid kernel"].contains(where: complaint.contains) {
            return HostError(
                .badConfiguration, "QEMU cannot use a file of the guest\(because)",
                hint: "the file is damaged; QEMU's whole error output is in \(paths.errorLog)")
        }
        return HostError(
            complaint.contains("No space left") ? .cannotCreate : .failed, "QEMU \(end)\(because)",
            hint: "QEMU's whole error output is in \(paths.errorLog)")
    }
}

/// The parts of a machine that are known only when its files are there.
package struct PreparedParts: Sendable {
    var boot: Boot
    var diskFormat: String
    var additionalDevices: [any QEMUDevice]

    package init(boot: Boot, diskFormat: String, additionalDevices: [any QEMUDevice]) {
        self.boot = boot
        self.diskFormat = diskFormat
        self.additionalDevices = additionalDevices
    }
}

private final class SharedParts: Sendable {
    private let parts = Mutex<PreparedParts?>(nil)

    func withLock<Result: Sendable>(_ body: (inout PreparedParts?) -> Result) -> Result {
        parts.withLock { parts in body(&parts) }
    }
}
