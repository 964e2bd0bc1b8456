import AgentAPI
import HostModel
import HostOS
import InstanceStore

/// Stops an instance by whatever still lives of it, and verifies that nothing does.
struct Stopper: Sendable {
    let context: CommandContext
    let directory: InstanceDirectory

    /// - Returns: false when nothing ran.
    /// - Throws: `HostError` when something still does.
    func run(force: Bool) async throws -> Bool {
        if let ended = try await endOrphan(force: force) { return ended }
        let client = AgentClient(socket: directory.agentSocket)
        let info: AgentInfo
        do {
            info = try await client.info()
        } catch {
            guard force else { throw Starter.heldSilently(directory) }
            try await killSilentAgent()
            return true
        }
        let agent = ProcessIdentity.of(pid: info.agentPID)
        _ = try await client.stop(force: force)
        let console = Console(messageWhenReady: "", quiet: true)
        try? await client.events(since: Int.max / 2, run: info.run) { record in
            if record.kind == "stop-step" || record.kind == "guest-ended" { _ = console.show(record) }
            return true
        }
        console.finish()
        // The stream ends a moment before the process does.
        _ = await agent?.waitUntilEnded()
        if try directory.isHeld(), ProcessIdentity.of(pid: info.agentPID) == agent {
            throw HostError(.failed, "the agent of \"\(directory.name)\" (process \(info.agentPID)) still runs")
        }
        return true
    }

    /// An agent that holds the lock and does not answer: ended by force, then its guest.
    private func killSilentAgent() async throws {
        guard let pid = directory.recordedAgentPID, let agent = ProcessIdentity.of(pid: pid) else {
            throw HostError(
                .held, "a process holds \"\(directory.name)\" and nothing says which",
                hint: "fuser \(directory.agentLock) names it")
        }
        agent.signal(9)
        _ = await agent.waitUntilEnded()
        guard try !directory.isHeld() else {
            throw HostError(
                .held, "process \(pid), which \(directory.agentPID) names, was not the one that holds the instance",
                hint: "fuser \(directory.agentLock) names it")
        }
        _ = try await endOrphan(force: true)
    }

    /// Ends a guest without an agent under the instance's lock, so that no start can come in between; nil when an
    /// agent holds it.
    private func endOrphan(force: Bool) async throws -> Bool? {
        let ended: Bool
        do {
            guard let lock = try FileLock.acquire(path: directory.agentLock) else { return nil }
            ended = try await context.endOrphan(directory, force)
            lock.release()
        } catch let error as SystemCallError {
            throw HostError(.notPermitted, "cannot lock the instance \"\(directory.name)\": \(error)")
        }
        return ended
    }
}
