import AgentAPI
import Foundation
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers
import UnixSignals

/// Handles the requests to a running agent, from its socket and from signals. The supervisor makes the decisions.
struct Reception: Sendable {
    let options: Agent.Options
    let log: EventLog
    let supervisor: Supervisor
    let origin: LaunchOrigin
    let live: LiveConfiguration
    let finder: any GuestFinder
    let capabilities: GuestCapabilities

    private var upgrade: ProgramReplacement {
        ProgramReplacement(
            directory: options.instance.directory, finder: finder, binary: options.upgrade.binary,
            arguments: options.upgrade.arguments)
    }

    /// What the API server can use.
    var handlers: APIServer.AgentHandlers {
        APIServer.AgentHandlers(
            info: { info }, log: log, stop: { force in await stop(force: force) },
            reload: { () throws(HostError) in try await reload() },
            snapshots: { () throws(HostError) in try await supervisor.snapshots.list() },
            changeSnapshot: { (change) throws(HostError) in try await supervisor.change(change) },
            checkUpgrade: { () throws(HostError) in
                if let refusal = await supervisor.refusalToUpgrade() { throw refusal }
                return UpgradeBody(version: try await upgrade.check(), run: log.run)
            },
            upgrade: { body in _ = await supervisor.upgrade(upgrade, version: body.version) })
    }

    /// Managers request a stop with SIGTERM, a person with SIGINT. A second SIGINT forces the stop. SIGHUP reads the
    /// configuration again, unless the agent has just lost its terminal; then it requests a stop. SIGUSR2 requests an
    /// upgrade.
    func obey(_ signals: UnixSignalsSequence) async {
        let hadTerminal = HostProcess.hasTerminal
        var interrupts = 0
        await withDiscardingTaskGroup { group in
            for await signal in signals {
                switch signal {
                case .sigint:
                    interrupts += 1
                    supervisor.requestStop(by: "SIGINT", force: interrupts > 1)
                case .sighup where hadTerminal && !HostProcess.hasTerminal:
                    supervisor.requestStop(by: "SIGHUP", force: false)
                // These take time, so they run in tasks of their own and a stop request is still handled. Failures are
                // reported as events.
                case .sighup: group.addTask { _ = try? await reload() }
                case .sigusr2: group.addTask { await upgradeNow() }
                default: supervisor.requestStop(by: "SIGTERM", force: false)
                }
            }
        }
    }

    private func upgradeNow() async {
        do {
            _ = await supervisor.upgrade(upgrade, version: try await upgrade.check())
        } catch {
            log.emit(.warning("not upgraded: \(error.message)"))
        }
    }

    /// Applies what can be applied to the running guest. If a file contains a mistake, nothing changes.
    private func reload() async throws(HostError) -> ReloadBody {
        do {
            var (applied, warnings) = try await live.reload()
            let result = await supervisor.apply { [live] in
                .init(grace: live.effectiveGrace, forwards: live.forwards, mounts: live.mounts)
            }
            let ports = result.ports
            // A port that could not be opened before may have been opened now, and one that is taken is not in effect.
            let isNew = applied.contains("portForwards")
            applied.removeAll { $0 == "portForwards" }
            if isNew || ports.hasChanged, ports.complaints.isEmpty { applied.append("portForwards") }
            let pending = pending
            // A part of the mounts may wait, or cannot be had.
            if !result.mountComplaints.isEmpty { applied.removeAll { $0 == "mounts" } }
            applied.sort()
            warnings += ports.complaints + result.mountComplaints
            let isMissing = result.mountComplaints.contains { $0.contains(" is not mounted at ") }
            if isMissing, case .manager(.systemd, .system, _) = origin {
                warnings.append(
                    "the sandbox of the unit knows the locations of the last `hostagent autostart enable`; after others were "
                        + "added, call it again and restart the instance")
            }
            log.emit(.reloaded(applied: applied, pending: pending.map(\.key)))
            return ReloadBody(applied: applied, pending: pending, warnings: warnings)
        } catch {
            log.emit(.warning("the configuration was not read again: \(error.message)"))
            throw error
        }
    }

    /// A stop request from the socket is passed to the manager that started us, so that the manager knows the
    /// instance's state. If the manager refuses, we stop the guest ourselves and exit with a status that the manager
    /// takes for a stop.
    private func stop(force: Bool) async -> StopBody {
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

    /// The keys whose values of now are not in effect.
    private var pending: [PendingChange] {
        let waiting = supervisor.mounts.hasOthers(than: live.mounts)
        return (live.pending + (waiting ? [PendingChange(key: "mounts", until: .restart)] : [])).sorted()
    }

    private var info: AgentInfo {
        let now = log.snapshot
        return AgentInfo(
            instance: options.instance.name, dir: options.instance.directory.path, driver: options.driverName,
            phase: now.phase, errors: now.errors,
            sshLocalPort: now.sshLocalPort, agentPID: HostProcess.pid, guestPID: now.guestPID,
            version: options.version, run: log.run, startedAt: Self.format(log.startedAt),
            readyAt: now.readyAt.map(Self.format), accelerator: now.accelerator, pending: pending,
            configuration: live.inUse, capabilities: capabilities, origin: origin)
    }

    private static func format(_ date: Date) -> String {
        date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}

extension LaunchOrigin {
    /// The actual time in seconds that a guest has to shut down, under the manager that started its agent.
    func effectiveGrace(_ settings: Settings) -> Int {
        guard case .manager(.systemd, let scope, _) = self else { return settings.stopGrace }
        return SystemdUnit.effectiveGrace(settings.stopGrace, scope: scope)
    }
}
