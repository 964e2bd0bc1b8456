import AgentAPI
import HostModel
import InstanceOperations
import InstanceStore

extension AgentClient {
    /// - Throws: `HostError` with `.unavailable` unless the guest of an instance can be used.
    static func requireUsable(_ directory: InstanceDirectory) async throws {
        let info = try await ofRunning(directory).info()
        guard info.phase.isUsable else {
            throw HostError(
                .unavailable, "the instance \"\(directory.name)\" is \(info.phase.rawValue), not running",
                hint: "hostagent start \(directory.name) waits until it is ready")
        }
    }
}
