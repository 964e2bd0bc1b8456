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
    /// What its provisioning scripts said to that agent.
    let provisioningFailures: [AgentEvent]
    /// What was found in disorder and repaired, to be said once the guest is ours.
    var repairs: [String] = []

    /// To be made before a new log begins, and before `ha.pid` names somebody else.
    init(_ guest: SurvivingGuest, in directory: InstanceDirectory) {
        self.guest = guest
        previousAgent = directory.recordedAgentPID
        let lines = (try? TextFile.read(directory.eventLog, limit: 64 << 20))?.split(separator: "\n") ?? []
        previousRun = lines.last.flatMap { EventRecord(line: $0.utf8) }?.run
        // The last of these decides. Others are not decoded: a log can be long.
        let deciding = ["guest-ready": true, "guest-rebooted": false, "guest-spawned": false]
        var failures: [AgentEvent] = []
        var readiness = Lifecycle.Readiness.unknown
        for line in lines.reversed() {
            let kinds = deciding.keys + ["provisioning-failed"]
            guard kinds.contains(where: { line.contains("\"kind\":\"\($0)\"") }),
                let record = EventRecord(line: line.utf8)
            else { continue }
            if record.kind == "provisioning-failed", let payload = record.payload {
                failures.append(
                    .provisioningFailed(
                        mode: payload.mode ?? "", script: payload.script ?? "", status: Int(payload.exitStatus ?? -1)))
            } else if let isReady = deciding[record.kind] {
                if readiness == .unknown { readiness = isReady ? .ready : .booting }
                // What was said before the guest booted is of another boot; an agent that attached said it again.
                if !isReady { break }
            }
        }
        self.readiness = readiness
        provisioningFailures = failures.reversed()
    }

    /// The sentence about the first of them.
    var provisioningFault: String? {
        guard case .provisioningFailed(let mode, let script, let status)? = provisioningFailures.first else {
            return nil
        }
        return AgentEvent.provisioningFault(mode: mode, script: script, status: status)
    }
}
