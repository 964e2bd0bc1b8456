import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore

/// A guest that outlived its agent, with the facts from that agent's event log.
package struct Survivor: Sendable {
    let guest: SurvivingGuest
    let previousRun: String?
    let previousAgent: Int32?
    let readiness: Lifecycle.Readiness
    /// The failures of its provisioning scripts that were reported to that agent.
    let provisioningFailures: [AgentEvent]
    /// One sentence for each repair. They are reported once the agent is attached.
    var repairs: [String] = []

    /// Must be called before a new log begins, and before `ha.pid` is overwritten.
    package init(_ guest: SurvivingGuest, in directory: InstanceDirectory) {
        self.guest = guest
        previousAgent = directory.recordedAgentPID
        let lines = (try? EventLogFiles.lines(directory.eventLog, limit: 64 << 20)) ?? []
        previousRun = lines.last.flatMap { EventRecord(line: $0.utf8) }?.run
        // Only decode the relevant kinds, because a log can be long.
        let deciding = ["guest-ready", "guest-rebooted", "guest-spawned", "provisioning-failed"]
        var failures: [AgentEvent] = []
        var readiness = Lifecycle.Readiness.unknown
        reading: for line in lines.reversed() {
            guard deciding.contains(where: { line.contains("\"kind\":\"\($0)\"") }),
                let record = EventRecord(line: line.utf8)
            else { continue }
            switch record.event {
            case .provisioningFailed(let said):
                failures.append(
                    .provisioningFailed(mode: said.mode, script: said.script, status: Int(said.exitStatus)))
            case .guestReady:
                if readiness == .unknown { readiness = .ready }
            case .guestRebooted, .guestSpawned:
                if readiness == .unknown { readiness = .booting }
                // Earlier lines belong to another boot. An agent that attached has repeated the lines that still apply.
                break reading
            default: break
            }
        }
        self.readiness = readiness
        provisioningFailures = failures.reversed()
    }

    /// The message about the first provisioning failure.
    var provisioningFault: String? {
        guard case .provisioningFailed(let mode, let script, let status)? = provisioningFailures.first else {
            return nil
        }
        return AgentEvent.provisioningFault(mode: mode, script: script, status: status)
    }
}
