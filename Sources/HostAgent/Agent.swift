import AgentAPI
import Dispatch
import GuestAccess
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Logging
import ServiceLifecycle
import ServiceManagement
import UnixSignals

/// The foreground process that supervises one guest, from the lock to its release.
package struct Agent: Sendable {
    /// What an agent is given.
    package struct Options: Sendable {
        package var instance: Instance
        package var home: LimaHome
        package var environment: [String: String]
        package var version: String
        /// Seconds the whole start may take; nil: what each phase may.
        package var startLimit: Int?
        /// Gets every event, besides the log and the socket.
        package var sink: EventLog.Sink?
        /// How guests of this driver see the host.
        package var network: GuestSeed.Network
        package var driverName: String
        /// What the file says by which a manager of this scope starts the instance.
        package var registered: @Sendable (ManagerScope) -> RegisteredTerms?
        /// The program on disk, and the arguments with which it would take this one's place.
        package var upgrade: (binary: String, arguments: [String])
        /// The descriptor of the lock that the program before this one, in the same process, held.
        package var inheritedLock: Int32?

        package init(
            instance: Instance, home: LimaHome, environment: [String: String], version: String, startLimit: Int?,
            sink: EventLog.Sink?, network: GuestSeed.Network, driverName: String,
            registered: @escaping @Sendable (ManagerScope) -> RegisteredTerms?,
            upgrade: (binary: String, arguments: [String]), inheritedLock: Int32?
        ) {
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
    /// - Throws: `HostError` before anything was touched: another process holds the instance, and the like.
    package func run() async throws -> HostExitStatus {
        // The lock comes before anything is touched, handlers before the manager may think that we are ready.
        let held = try takeLock()
        let survivor = held.survivor
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
            driver: driver,
            access: GuestAccessPlan(
                instance: options.instance, home: options.home, network: options.network,
                searchPath: options.environment["PATH"]),
            delay: delay(for: origin), claim: held.claim, survivor: survivor, log: log, notifier: Notifier(),
            deadlines: deadlines(for: origin, survivor), forwards: live.forwards)
        // The first event of a run that attaches is that it did; these were said when the guest was started.
        if survivor == nil {
            for warning in options.instance.warnings + held.repairs { log.emit(.warning(warning)) }
        }

        let reception = Reception(options: options, log: log, supervisor: supervisor, origin: origin, live: live)
        let status = try await serve(reception, signals: signals)
        held.claim.release()
        return status
    }

    private func delay(for origin: LaunchOrigin) -> RestartDelay {
        let isKeptAlive = origin.managerKind != .none && options.instance.settings.keepAlive != .no
        return RestartDelay(directory: directory, isKeptAlive: isKeptAlive)
    }

    private func deadlines(for origin: LaunchOrigin, _ survivor: Survivor?) -> Deadlines {
        // What a person gave a start does not count for a guest that is there.
        Deadlines(
            grace: origin.effectiveGrace(options.instance.settings), start: survivor == nil ? options.startLimit : nil)
    }

    // MARK: The instance

    /// An instance that is this agent's.
    private struct Held {
        let claim: InstanceClaim
        let survivor: Survivor?
        /// What was found in disorder and repaired.
        let repairs: [String]
    }

    /// - Returns: the lock, and the guest of this instance that lives without an agent.
    private func takeLock() throws -> Held {
        var repairs = directory.clearWay()
        guard let lock = try acquireLock() else { throw Self.held(directory) }
        // Somebody may hold it without our lock: Lima itself, or a guest that outlived its agent.
        if let pid = directory.stranger { throw directory.heldBy(stranger: pid) }
        repairs += restoredSockets()
        var survivor = try driver.survivor().map { Survivor($0, in: directory) }
        do {
            try TextFile.replace(directory.agentPID, with: "\(HostProcess.pid)\n")
        } catch {
            // It is information; a guest that is there is not left alone for want of it.
            if survivor == nil {
                throw HostError(
                    .cannotCreate, "cannot write \(directory.agentPID): \(error.reason)",
                    hint: error.isFull ? "make room on that disk" : nil)
            }
        }
        // What is no socket cannot be anybody's who answers, and would be in the way of ours.
        if let kind = Files.kind(directory.agentSocket), kind != .socket { try? Files.remove(directory.agentSocket) }
        let removed = Leftovers.sweep(directory, holdingLock: true).map {
            "removed \($0), which a process that was killed left"
        }
        repairs += removed
        survivor?.repairs = repairs
        return Held(claim: InstanceClaim(lock, of: directory), survivor: survivor, repairs: repairs)
    }

    /// - Returns: nil when somebody else holds it.
    private func acquireLock() throws -> FileLock? {
        do {
            if let inherited = options.inheritedLock,
                let adopted = try FileLock.adopt(descriptor: inherited, path: directory.agentLock)
            {
                return adopted
            }
            return try FileLock.acquire(path: directory.agentLock)
        } catch {
            throw HostError(
                error.isDenied ? .notPermitted : .cannotCreate,
                "cannot lock the instance \"\(options.instance.name)\": \(error)")
        }
    }

    /// The error that says who holds an instance.
    package static func held(_ directory: InstanceDirectory) -> HostError {
        let holder = directory.recordedAgentPID.map { "process \($0)" } ?? "another process"
        return HostError(
            .held, "the instance \"\(directory.name)\" is held by \(holder)",
            hint: "hostagent info \(directory.name) shows what it is doing; hostagent stop \(directory.name) ends it")
    }

    private func beginLog(_ survivor: Survivor?) throws(HostError) -> EventLog {
        do {
            return try EventLog(
                path: directory.eventLog, sink: options.sink, phase: survivor == nil ? .preparing : .attaching)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.eventLog): \(error.reason)")
        }
    }

    // MARK: Serving

    private func serve(_ reception: Reception, signals: UnixSignalsSequence) async throws -> HostExitStatus {
        let (log, supervisor, origin) = (reception.log, reception.supervisor, reception.origin)
        let face = reception.face
        let (bound, boundContinuation) = AsyncStream.makeStream(of: Void.self)
        let server = try APIServer(socket: directory.agentSocket, face: face) { boundContinuation.finish() }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server)], logger: Logger(label: "agent") { _ in SwiftLogNoOpLogHandler() }))
        let watch = DirectoryWatch(path: directory.path)

        return try await withThrowingTaskGroup(of: Outcome?.self) { tasks in
            tasks.addTask {
                defer { boundContinuation.finish() }
                do {
                    try await group.run()
                } catch {
                    throw HostError(.cannotCreate, "cannot listen on \(directory.agentSocket): \(error)")
                }
                return nil
            }
            tasks.addTask {
                // The socket answers from before the guest boots until after it has stopped.
                for await _ in bound {}
                return await supervisor.run()
            }
            tasks.addTask {
                await reception.obey(signals)
                return nil
            }
            tasks.addTask {
                await replaceLosses(watch, reception, face)
                return nil
            }
            while let finished = try await tasks.next() {
                guard let outcome = finished else { continue }
                let status = outcome.exitStatus(
                    keepAlive: reception.live.settings.keepAlive, manager: origin.managerKind)
                delay(for: origin).remember(
                    outcome, status: outcome.exitStatus(keepAlive: .onFailure, manager: .none), log: log)
                log.emit(.exiting(status: status.rawValue))
                // We end the streams. Readers get a moment for the last events; nobody can hold us up longer.
                log.close()
                await log.drain(seconds: 1)
                for path in [directory.agentSocket, directory.agentPID] { try? Files.remove(path) }
                DispatchQueue.global().asyncAfter(deadline: .now() + 2) { HostProcess.exit(status.rawValue) }
                await group.triggerGracefulShutdown()
                tasks.cancelAll()
                return status
            }
            throw HostError(.failed, "the agent's services ended before the guest")
        }
    }

    /// Puts back what a guest that runs needs to be reached.
    /// - Returns: a sentence for each.
    private func repairs(_ supervisor: Supervisor) -> [String] {
        directory.clearWay() + restoredSockets()
            + (supervisor.restoreSSHConfiguration()
                ? ["\(directory.sshConfiguration) was removed; it is there again"] : [])
    }

    private func restoredSockets() -> [String] {
        driver.restoreSockets() ? ["a socket of the guest's machine was removed; it is there again"] : []
    }

    /// Who removes the socket or the lock of a running agent would have one that nobody can speak to, or two. Servers
    /// that lost their path go on with the connections they have.
    private func replaceLosses(_ watch: DirectoryWatch, _ reception: Reception, _ face: APIServer.AgentFace) async {
        await withTaskGroup(of: Void.self) { servers in
            for await _ in watch.losses {
                // Who removes the whole directory takes its files one by one; nothing is put back between them.
                guard (try? await Task.sleep(for: .milliseconds(200))) != nil else { break }
                // A machine that ends removes its own.
                if Files.kind(directory.limaYAML) != nil, reception.log.snapshot.phase.hasGuest {
                    for repair in repairs(reception.supervisor) { reception.log.emit(.warning(repair)) }
                }
                while !reception.supervisor.renewClaim() {
                    guard (try? await Task.sleep(for: .milliseconds(200))) != nil else { break }
                }
                guard !reception.log.snapshot.phase.isFinal, Files.kind(directory.limaYAML) != nil,
                    Files.kind(directory.agentSocket) == nil,
                    let server = try? APIServer(socket: directory.agentSocket, face: face, onBound: {})
                else { continue }
                reception.log.emit(.warning("the socket \(directory.agentSocket) was removed; it is there again"))
                servers.addTask { try? await server.run() }
            }
            servers.cancelAll()
        }
    }
}
