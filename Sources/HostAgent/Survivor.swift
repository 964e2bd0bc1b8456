import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore

/// A guest that outlived its agent, with what that agent's event log says of it.
struct Survivor: Sendable {
    let guest: SurvivingGuest
    let previousRun: String?
    let previousAgent: Int32?
    let readiness: Lifecycle.Readiness

    /// To be made before a new log begins, and before `ha.pid` names somebody else.
    init(_ guest: SurvivingGuest, in directory: InstanceDirectory) {
        self.guest = guest
        previousAgent = directory.recordedAgentPID
        let lines = (try? TextFile.read(directory.eventLog, limit: 64 << 20))?.split(separator: "\n") ?? []
        previousRun = lines.last.flatMap { EventRecord(line: $0.utf8) }?.run
        // The last of these decides. Others are not decoded: a log can be long.
        let deciding = ["guest-ready": true, "guest-rebooted": false, "guest-spawned": false]
        readiness =
            lines.lazy.reversed().compactMap { line -> Bool? in
                guard deciding.keys.contains(where: { line.contains("\"kind\":\"\($0)\"") }) else { return nil }
                return EventRecord(line: line.utf8).flatMap { deciding[$0.kind] }
            }.first.map { $0 ? .ready : .booting } ?? .unknown
    }
}
