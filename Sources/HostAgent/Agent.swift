import AgentAPI
import Dispatch
import GuestAccess
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import Logging
import ServiceLifecycle
import ServiceManagers
import UnixSignals

/// The foreground process that supervises one guest. It holds the instance's lock from beginning to end.
package struct Agent: Sendable {
    package struct Options: Sendable {
        package var instance: Instance
        package var home: LimaHome
        package var environment: [String: String]
        package var version: String
        /// The limit in seconds for the complete start; nil if only the limits of the phases apply.
        package var startLimit: Int?
        /// Receives every event, in addition to the log and the socket.
        package var sink: EventLog.Sink?
        /// The guest's view of the network with this driver.
        package var network: GuestSeed.Network
        package var driverName: String
        /// Logs that the guest can fill, with their limits.
        package var guestLogs: [BoundedLog]
        /// Reads the terms in the file with which a manager of this scope starts the instance.
        package var registered: @Sendable (ManagerScope) -> RegisteredTerms?
        /// The program on disk that an upgrade executes, and its arguments.
        package var upgrade: (binary: String, arguments: [String])
        /// The descriptor of the lock that the previous program held in this process, after an upgrade.
        package var inheritedLock: Int32?

        package init(
            instance: Instance, home: LimaHome, environment: [String: String], version: String, startLimit: Int?,
            sink: EventLog.Sink?, network: GuestSeed.Network, driverName: String,
            guestLogs: [BoundedLog], registered: @escaping @Sendable (ManagerScope) -> RegisteredTerms?,
            upgrade: (binary: String, arguments: [String]), inheritedLock: Int32?
        ) {
            self.guestLogs = guestLogs
            self.registered = registered
            self.upgrade = upgrade
            self.inheritedLock = inheritedLock
            self.instance = instance
            self.home = home
            self.environment = environment
            self.version = version
            self.startLimit = startLimit
            self.sink = sink
            self.network = network
            self.driverName = driverName
        }
    }

    private let options: Options
    private let driver: any GuestDriver

    package init(options: Options, driver: any GuestDriver) {
        self.options = options
        self.driver = driver
    }

    private var directory: InstanceDirectory { options.instance.directory }

    /// Supervises the guest to its end.
    /// - Returns: the exit status.
    /// - Throws: `HostError` if the agent cannot begin, for example because another process holds the instance.
    package func run() async throws -> HostExitStatus {
        // Take the lock before changing anything. Install the signal handlers before the manager can consider us ready.
        let found = try takeInstance()
        let survivor = found.survivor
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup, .sigusr2)
        HostProcess.unblockSignals()
        let origin = OriginDetector.origin(
            of: options.instance.name, facts: .current(environment: options.environment))
        let log = try beginLog(survivor)
        let live = LiveConfiguration(options.instance, survivor: survivor, origin: origin) { [options] in
            guard case .manager(_, let scope, _) = origin else { return nil }
            return options.registered(scope)
        }
        let supervisor = Supervisor(
            .init(
                driver: driver,
                access: GuestAccessPlan(
                    instance: options.instance, home: options.home, network: options.network,
                    environment: options.environment, warn: { [log] in log.emit(.warning($0)) }),
                delay: delay(for: origin), claim: found.claim, survivor: survivor, log: log, notifier: Notifier(),
                deadlines: deadlines(live, survivor), forwards: live.forwards,
                mounts: MountPlan(
                    options.instance.configuration.mounts, ports: options.instance.configuration.mountPorts,
                    of: directory, isRecorded: survivor != nil,
                    searchPath: options.environment["PATH"],
                    tellsOfChanges: options.instance.configuration.mountInotify,
                    type: options.instance.configuration.mountType),
                guestLogs: options.guestLogs))
        // A run that attaches begins with the `attached` event. These warnings were reported when the guest was
        // started.
        if let survivor, survivor.guest.record.configurationDigests == nil {
            log.emit(
                .warning(
                    "it is not known with which configuration the guest was started, because its record was lost; "
                        + "changes since then count from its next start"))
        }
        if survivor == nil {
            for warning in options.instance.warnings + found.repairs { log.emit(.warning(warning)) }
        }

        let reception = Reception(
            options: options, log: log, supervisor: supervisor, origin: origin, live: live, finder: driver.finder,
            capabilities: driver.capabilities)
        let status = try await serve(reception, signals: signals)
        found.claim.release()
        return status
    }

    private func delay(for origin: LaunchOrigin) -> RestartDelay {
        let isKeptAlive = origin.managerKind != .none && options.instance.settings.keepAlive != .no
        return RestartDelay(directory: directory, isKeptAlive: isKeptAlive)
    }

    private func deadlines(_ live: LiveConfiguration, _ survivor: Survivor?) -> Deadlines {
        // A limit for the start does not apply to a guest that is already running.
        Deadlines(
            grace: live.effectiveGrace, start: survivor == nil ? options.startLimit : nil)
    }

    // MARK: The instance

    /// An instance that this agent has locked.
    private struct TakenInstance {
        let claim: InstanceClaim
        let survivor: Survivor?
        /// One sentence for each repair.
        let repairs: [String]
    }

    /// Takes the lock before it inspects or changes anything else.
    private func takeInstance() throws -> TakenInstance {
        var repairs = directory.clearWayForLock()
        guard let lock = try acquireLock() else { throw Self.held(directory) }
        repairs += directory.clearWay()
        // The instance may be in use without our lock: by Lima, or by a guest that outlived its agent.
        if let pid = directory.stranger { throw directory.heldBy(stranger: pid) }
        if driver.finder.restoreSockets() {
            repairs.append("a socket of the guest's machine was removed; it is there again")
        }
        var survivor = try driver.finder.survivor().map { Survivor($0, in: directory) }
        do {
            try directory.writeAgentPID()
        } catch {
            // The PID file is only informative. A surviving guest still needs its agent if the file cannot be written.
            if survivor == nil {
                throw HostError(
                    .cannotCreate, "cannot write \(directory.agentPID): \(error.reason)",
                    hint: error.isFull ? "make room on that disk" : nil)
            }
        }
        // Any other kind of file under the socket's name would prevent us from binding it.
        if let kind = Files.kind(directory.agentSocket), kind != .socket { try? Files.remove(directory.agentSocket) }
        repairs += Leftovers.sweep(directory).map { "removed \($0), which a process that was killed left" }
        survivor?.repairs = repairs
        return TakenInstance(claim: InstanceClaim(lock, of: directory), survivor: survivor, repairs: repairs)
    }

    /// - Returns: nil if another process holds the lock.
    private func acquireLock() throws -> FileLock? {
        if let inherited = options.inheritedLock,
            let adopted = FileLock.adopt(descriptor: inherited, path: directory.agentLock)
        {
            return adopted
        }
        do {
            return try FileLock.acquire(path: directory.agentLock)
        } catch {
            throw HostError(
                error.isDenied ? .notPermitted : .cannotCreate,
                "cannot lock the instance \"\(options.instance.name)\": \(error)",
                hint: error.isLink ? "remove \(directory.agentLock), which is a symbolic link" : nil)
        }
    }

    /// The error for an instance that another process holds.
    package static func held(_ directory: InstanceDirectory) -> HostError {
        let holder = directory.recordedAgentPID.map { "process \($0)" } ?? "another process"
        return HostError(
            .held, "the instance \"\(directory.name)\" is held by \(holder)",
            hint: "hostagent info \(directory.name) shows what it is doing; hostagent stop \(directory.name) ends it")
    }

    private func beginLog(_ survivor: Survivor?) throws(HostError) -> EventLog {
        do {
            return try EventLog(
                path: directory.eventLog, sink: options.sink, phase: survivor == nil ? .preparing : .attaching,
                limit: options.instance.settings.eventLogLimit)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.eventLog): \(error.reason)")
        }
    }

    // MARK: Serving

    private func serve(_ reception: Reception, signals: UnixSignalsSequence) async throws -> HostExitStatus {
        let (log, supervisor, origin) = (reception.log, reception.supervisor, reception.origin)
        // The API is available from before the guest boots until after it has stopped.
        let host = APIHost(socket: directory.agentSocket, handlers: reception.handlers)
        try await host.start()
        let repairs = Repairs(
            directory: directory, reception: reception, host: host,
            restoreSockets: { [driver] in driver.finder.restoreSockets() })
        let watch = DirectoryWatch(path: directory.path)
        let besideGuest = TaskBag()
        besideGuest.start { await reception.obey(signals) }
        besideGuest.start { await repairs.run(watch) }
        let outcome = await supervisor.run()
        // An agent without a guest must end even if a disk hangs.
        DispatchQueue.global().asyncAfter(deadline: .now() + 15) { HostProcess.exit(HostExitStatus.failure.rawValue) }

        let status = outcome.exitStatus(keepAlive: reception.live.settings.keepAlive, manager: origin.managerKind)
        // The path may belong to another instance by now. Do not write to its files.
        let isOurs = supervisor.holdsClaim
        if isOurs {
            delay(for: origin).remember(
                outcome, status: outcome.exitStatus(keepAlive: .onFailure, manager: .none), log: log)
        }
        log.emit(.exiting(status: status.rawValue))
        // The agent ends the event streams. Readers get a moment for the last events, and cannot delay the end longer.
        log.close()
        await log.drain(seconds: 1)
        await besideGuest.close()
        // Closing the server would remove the socket's name, which may belong to another instance by now. Exiting the
        // process does not remove it.
        guard isOurs else { return status }
        try? Files.remove(directory.agentPID)
        DispatchQueue.global().asyncAfter(deadline: .now() + 2) { HostProcess.exit(status.rawValue) }
        await host.shutDown()
        return status
    }
}
