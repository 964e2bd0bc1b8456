import AgentAPI
import HostModel
import HostOS
import InstanceStore

extension AgentInfo {
    /// - Throws: `HostError` with `.held` when this is the agent of another directory that shares files with this one.
    package func requireAgent(of directory: InstanceDirectory) throws(HostError) {
        guard let dir, !Files.isSame(dir, directory.path) else { return }
        throw HostError(
            .held, "\(directory.path) shares its lock and its socket with \(dir), whose agent answers there",
            hint: "copy the directory without hard links (cp -a, not cp -al), or work on \(dir)")
    }
}

extension AgentClient {
    /// The client of an instance's agent.
    /// - Throws: `HostError` with `.unavailable` when there is none.
    package static func ofRunning(_ directory: InstanceDirectory) throws -> AgentClient {
        guard try directory.isHeld() else {
            throw HostError(
                .unavailable, "the instance \"\(directory.name)\" has no running agent",
                hint: "hostagent start \(directory.name) starts one; hostagent list shows the instance's state")
        }
        return AgentClient(socket: directory.agentSocket)
    }

    /// The agent's information about itself. An agent that is starting, ending or being upgraded holds its lock and
    /// does not answer for a moment.
    /// - Returns: nil when no process holds the instance any more.
    /// - Throws: `HostError` with `.held` when the agent does not answer in time.
    package func info(holding directory: InstanceDirectory, within patience: Duration) async throws -> AgentInfo? {
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        let deadline = ContinuousClock.now + patience
        while true {
            do {
                return try await info()
            } catch {
                guard try directory.isHeld() else { return nil }
                guard ContinuousClock.now < deadline else { throw StartOperation.heldSilently(directory) }
                try await backoff.pause()
            }
        }
    }
}
