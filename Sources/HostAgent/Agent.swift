import AgentAPI
import Dispatch
import Foundation
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

        package init(
            instance: Instance, home: LimaHome, environment: [String: String], version: String, startLimit: Int?,
            sink: EventLog.Sink?, network: GuestSeed.Network, driverName: String
        ) {
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
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint, .sighup)
        let origin = OriginDetector.origin(
            of: options.instance.name, facts: .current(environment: options.environment))
        let log = try beginLog(survivor)
        let supervisor = Supervisor(
            driver: driver,
            access: GuestAccessPlan(
                instance: options.instance, home: options.home, network: options.network,
                searchPath: options.environment["PATH"]),
            delay: delay(for: origin), claim: held.claim, survivor: survivor, log: log, notifier: Notifier(),
            deadlines: deadlines(for: origin))
        // The first event of a run that attaches is that it did; these were said when the guest was started.
        if survivor == nil { for warning in options.instance.warnings { log.emit(.warning(warning)) } }

        let status = try await serve(log: log, supervisor: supervisor, origin: origin, signals: signals)
        held.claim.release()
        return status
    }

    private func delay(for origin: LaunchOrigin) -> RestartDelay {
        RestartDelay(directory: directory, isKeptAlive: origin.managerKind != .none)
    }

    private func deadlines(for origin: LaunchOrigin) -> Deadlines {
        var grace = options.instance.settings.stopGrace
        if case .manager(.systemd, let scope, _) = origin { grace = SystemdUnit.effectiveGrace(grace, scope: scope) }
        return Deadlines(grace: grace, start: options.startLimit)
    }

    // MARK: The instance

    /// An instance that is this agent's.
    private struct Held {
        let claim: InstanceClaim
        let survivor: Survivor?
    }

    /// - Returns: the lock, and the guest of this instance that lives without an agent.
    private func takeLock() throws -> Held {
        let lock: FileLock?
        do {
            lock = try FileLock.acquire(path: directory.agentLock)
        } catch {
            throw HostError(
                error.isDenied ? .notPermitted : .cannotCreate,
                "cannot lock the instance \"\(options.instance.name)\": \(error)")
        }
        guard let lock else { throw Self.held(directory) }
        // Somebody may hold it without our lock: Lima itself, or a guest that outlived its agent.
        if let pid = directory.stranger { throw directory.heldBy(stranger: pid) }
        let survivor = try driver.survivor().map { Survivor($0, in: directory) }
        do {
            try TextFile.replace(directory.agentPID, with: "\(HostProcess.pid)\n")
        } catch {
            throw HostError(
                .cannotCreate, "cannot write \(directory.agentPID): \(error.reason)",
                hint: error.isFull ? "make room on that disk" : nil)
        }
        return Held(claim: InstanceClaim(lock, path: directory.agentLock), survivor: survivor)
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

    private func serve(
        log: EventLog, supervisor: Supervisor, origin: LaunchOrigin, signals: UnixSignalsSequence
    ) async throws -> HostExitStatus {
        let face = APIServer.AgentFace(
            info: { [options] in Self.info(options: options, log: log, origin: origin) }, log: log,
            stop: { force in await Self.stop(supervisor, origin: origin, log: log, force: force) })
        let (bound, boundContinuation) = AsyncStream.makeStream(of: Void.self)
        let server = try APIServer(socket: directory.agentSocket, face: face) { boundContinuation.finish() }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server)], logger: Logger(label: "agent") { _ in SwiftLogNoOpLogHandler() }))

        return try await withThrowingTaskGroup(of: Outcome?.self) { [options] tasks in
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
                await Self.obey(signals, supervisor: supervisor)
                return nil
            }
            while let finished = try await tasks.next() {
                guard let outcome = finished else { continue }
                let status = outcome.exitStatus(
                    keepAlive: options.instance.settings.keepAlive, manager: origin.managerKind)
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

    /// SIGTERM is how managers ask, SIGINT how a person does; a second one means now. SIGHUP: the terminal went away.
    private static func obey(_ signals: UnixSignalsSequence, supervisor: Supervisor) async {
        var interrupts = 0
        for await signal in signals {
            switch signal {
            case .sigint:
                interrupts += 1
                supervisor.requestStop(by: "SIGINT", force: interrupts > 1)
            case .sighup: supervisor.requestStop(by: "SIGHUP", force: false)
            default: supervisor.requestStop(by: "SIGTERM", force: false)
            }
        }
    }

    /// A stop over the socket goes through the manager that started us, so that its picture stays true; what the
    /// manager refuses we do ourselves, and end with a status that it takes for a stop.
    private static func stop(
        _ supervisor: Supervisor, origin: LaunchOrigin, log: EventLog, force: Bool
    ) async -> StopBody {
        if let identifier = origin.autoStartedIdentifier {
            guard let refusal = await StopDelegation.ask(origin) else {
                if force { supervisor.requestStop(by: "info socket", force: true) }
                return StopBody(delegatedTo: identifier)
            }
            log.emit(.warning("\(identifier) was not stopped through its manager: \(refusal)"))
        }
        supervisor.requestStop(by: "info socket", force: force)
        return StopBody(delegatedTo: nil)
    }

    private static func info(options: Options, log: EventLog, origin: LaunchOrigin) -> AgentInfo {
        let now = log.snapshot
        return AgentInfo(
            instance: options.instance.name, driver: options.driverName, phase: now.phase, errors: now.errors,
            sshLocalPort: now.sshLocalPort, agentPID: HostProcess.pid, guestPID: now.guestPID,
            version: options.version, run: log.run, startedAt: format(log.startedAt),
            readyAt: now.readyAt.map(format), accelerator: now.accelerator, origin: origin)
    }

    private static func format(_ date: Date) -> String {
        date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}
