import AgentAPI
import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// Stops whatever still runs of an instance, and verifies that nothing is left.
package struct StopOperation: Sendable {
    let context: OperationContext
    let directory: InstanceDirectory

    package init(context: OperationContext, directory: InstanceDirectory) {
        self.context = context
        self.directory = directory
    }

    /// - Parameter force: end the guest at once, without asking it first.
    /// - Throws: `HostError` when something still runs.
    package func run(force: Bool) async throws -> StopResult {
        let wasRunning = try await stop(force: force)
        return StopResult(name: directory.name.text, outcome: wasRunning ? .stopped : .notRunning)
    }

    /// The first half of a restart.
    /// - Throws: `HostError` when something still runs. Nothing is stopped that could not be started again.
    package func runBeforeStart(force: Bool) async throws {
        _ = try Instance(directory)
        if let registration = context.registration(of: directory) {
            try await context.manager.requirePermission(toRestart: registration)
        }
        _ = try await run(force: force)
    }

    /// What a stop would do.
    package func plan(force: Bool) throws -> OperationPlan {
        let name = directory.name.text
        let how = force ? "end the guest without asking it" : "ask the guest to shut down"
        if try directory.isHeld() {
            let unit = context.registration(of: directory).map { "through \($0.identifier)" } ?? "through its agent"
            return OperationPlan(name: name, steps: ["\(how), \(unit)"])
        }
        if let pid = context.orphan(directory) {
            return OperationPlan(name: name, steps: ["\(how), process \(pid), which has no agent"])
        }
        return OperationPlan(name: name, steps: [])
    }

    /// - Returns: false when nothing ran.
    /// - Throws: `HostError` when something still runs.
    private func stop(force: Bool) async throws -> Bool {
        context.sweep(directory)
        let quieted = try await quietManager()
        if let ended = try await endOrphan(force: force) { return ended || quieted }
        let client = AgentClient(socket: directory.agentSocket)
        let info: AgentInfo
        do {
            guard let answer = try await client.info(holding: directory, within: .seconds(3)) else {
                return try await stop(force: force) || quieted
            }
            info = answer
        } catch {
            guard force else { throw StartOperation.heldSilently(directory) }
            // The manager is told first. Otherwise it would take the kill for a crash and start another agent.
            let registration = context.registration(of: directory)
            if let registration { try await context.manager.beginStop(registration) }
            try await killSilentAgent()
            _ = try await endOrphan(force: true)
            if let registration { try await settle(registration) }
            return true
        }
        // Two directories can share a lock and a socket by hard links. Only the agent of this directory is stopped.
        try info.requireAgent(of: directory)
        let agent = ProcessIdentity.of(pid: info.agentPID)
        // An agent that a manager started delegates the stop to that manager.
        _ = try await client.stop(force: force)
        try? await client.events(since: Int.max / 2, run: info.run) { record in
            switch record.event {
            case .stopStep, .guestEnded: context.progress(.event(record))
            default: break
            }
            return true
        }
        // The stream ends a moment before the process does.
        _ = await agent?.waitUntilEnded()
        if let registration = FoundRegistration(of: info, directory.name) { try await settle(registration) }
        if try directory.isHeld(), ProcessIdentity.of(pid: info.agentPID) == agent {
            throw HostError(.failed, "the agent of \"\(directory.name)\" (process \(info.agentPID)) still runs")
        }
        // An agent that was killed during the stop leaves its guest.
        _ = try await endOrphan(force: force)
        return true
    }

    /// The manager may be about to start an agent while none lives, after a failure or because of a start that was
    /// just requested. It is told first; otherwise it would start what was stopped.
    private func quietManager() async throws -> Bool {
        guard let registration = context.registration(of: directory), try !directory.isHeld() else { return false }
        guard let status = try? await context.manager.status([registration]).first, !status.isDown else { return false }
        try await context.manager.stop(registration)
        return true
    }

    /// Waits until the manager also reports that nothing runs.
    private func settle(_ registration: FoundRegistration) async throws {
        do {
            // This joins a stop that is under way.
            try await context.manager.stop(registration)
        } catch  where error is HostError {
            // Not permitted. The manager notices the agent's end by itself, a moment after this process.
            var backoff = Backoff(from: .milliseconds(20), to: .milliseconds(500))
            let deadline = ContinuousClock.now + .seconds(10)
            while let status = try await context.manager.status([registration]).first, !status.isDown {
                guard ContinuousClock.now < deadline else { throw error }
                try await backoff.pause()
            }
        }
    }

    /// Ends an agent that holds the lock and does not answer, and then its guest.
    private func killSilentAgent() async throws {
        // The socket and `ha.pid` only claim which process it is. The process is killed only if it has the lock open.
        let candidates = [UnixSocket.listener(path: directory.agentSocket), directory.recordedAgentPID]
        let agents = candidates.compactMap { $0.flatMap(ProcessIdentity.of(pid:)) }
        guard let agent = agents.first(where: isHolder) else {
            throw HostError(
                .held, "a process holds \"\(directory.name)\" and nothing says which",
                hint: "fuser \(directory.agentLock) names it")
        }
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        guard try !directory.isHeld() else {
            throw HostError(
                .held, "process \(agent.pid) was ended, and another one holds the instance",
                hint: "fuser \(directory.agentLock) names it")
        }
    }

    /// The process runs as this account and has the lock of this directory open.
    private func isHolder(_ process: ProcessIdentity) -> Bool {
        process.owner == Files.owner(directory.path) && process.hasOpen(directory.agentLock)
    }

    /// Ends a guest that no agent holds, if there is one.
    package func reap() async throws { _ = try await endOrphan(force: false) }

    /// Ends a guest without an agent under the instance's lock, so that no start can come in between. Nil when an agent
    /// holds the lock.
    private func endOrphan(force: Bool) async throws -> Bool? {
        // An instance that never ran has no lock. A lock made here by root would keep its owner out.
        if Files.kind(directory.agentLock) == nil, directory.stranger == nil, context.orphan(directory) == nil {
            return false
        }
        let ended: Bool
        do {
            guard let lock = try FileLock.acquire(path: directory.agentLock) else { return nil }
            if let stranger = directory.stranger { throw directory.heldBy(stranger: stranger) }
            for note in directory.clearWay() { context.progress(.note(note)) }
            ended = try await context.endOrphan(directory, force)
            // The caller holds the lock and there is no guest, so these files are stale.
            for path in directory.liveNames { try? Files.remove(path) }
            lock.release()
        } catch let error as SystemCallError {
            throw HostError(.notPermitted, "cannot lock the instance \"\(directory.name)\": \(error)")
        }
        return ended
    }
}

extension FoundRegistration {
    /// The registration that an agent names as its starter; nil for an agent that a person started.
    fileprivate init?(of info: AgentInfo, _ instance: InstanceName) {
        guard let scope = info.manager.scope, let identifier = info.autoStartedIdentifier else { return nil }
        // The agent's answer is a claim. Only this instance's own unit or label is ever stopped.
        guard
            [ServiceName.systemdUnit(instance), ServiceName.launchdLabel(instance, scope: scope)].contains(identifier)
        else { return nil }
        self.init(
            instance: instance, condition: scope == .user ? .login : .boot, identifier: identifier, file: "",
            isOurs: false)
    }
}
