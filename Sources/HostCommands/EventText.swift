import AgentAPI
import HostModel

/// Events as text for people.
package enum EventText {
    /// The lines that stay; a happening of no lasting interest has none.
    package static func lines(_ record: EventRecord) -> [String] {
        guard let text = sentence(record) else { return [] }
        return text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { index, line in
            index == 0 ? "\(stamp(record.elapsed))  \(line)" : "          \(line)"
        }
    }

    /// A port that is not forwarded as the configuration wants; nil for other events.
    package static func portWarning(_ record: EventRecord) -> String? {
        record.status.portForward?.type == "failed" ? forward(record.status.portForward) : nil
    }

    /// The line that follows the progress of a start or stop; nil when nothing is under way.
    package static func progress(_ record: EventRecord) -> String? {
        if record.phase.isUsable || record.phase.isFinal { return nil }
        let detail = record.status.cloudInitProgress?.logLine.map { ": \($0)" } ?? " …"
        return "\(stamp(record.elapsed))  \(record.phase.rawValue)\(detail)"
    }

    /// Seconds in seven columns, so that the text behind them is aligned.
    private static func stamp(_ seconds: Double) -> String {
        let hundredths = Int((seconds * 100).rounded())
        let text = "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
        return String(repeating: " ", count: max(0, 6 - text.count)) + text + " s"
    }

    private static func sentence(_ record: EventRecord) -> String? {
        let payload = record.payload ?? EventRecord.Payload()
        switch record.kind {
        case "phase": return record.phase.rawValue
        case "guest-spawned":
            return "QEMU is process \(payload.pid ?? 0), accelerator \(payload.accelerator?.rawValue ?? "?"), "
                + "SSH on 127.0.0.1:\(record.status.sshLocalPort ?? 0)"
        case "attached":
            return "attached to QEMU, process \(payload.pid ?? 0), which outlived its agent"
                + (payload.previousAgentPID.map { " (process \($0))" } ?? "")
        case "guest-rebooted": return "the guest rebooted"
        case "guest-ready": return "the guest's boot scripts are done"
        case "access-confirmed": return "logged in over SSH in \(payload.milliseconds ?? 0) ms"
        case "provisioning-failed": return "error: " + (record.status.errors?.last ?? "a provisioning script failed")
        case "stop-requested":
            return (payload.force == true ? "forced stop" : "stop") + ", asked by \(payload.by ?? "?")"
        case "stop-step":
            switch payload.step {
            case .ask: return "asked the guest to shut down"
            case .askAgain: return "asked the guest again"
            case .quit: return "told QEMU to quit"
            case .kill: return "killed QEMU"
            case nil: return nil
            }
        case "guest-ended":
            let seconds = payload.seconds ?? 0
            return payload.step.map { "the guest is gone, \(seconds) s after the stop began (\($0.rawValue))" }
                ?? "the guest ended by itself"
        case "guest-unresponsive": return "QEMU does not answer"
        case "guest-responsive": return "QEMU answers again"
        case "port-forward": return forward(record.status.portForward)
        case "guest-clock-set": return "told the guest the time: \(payload.message ?? "")"
        case "reloaded":
            let names = { (keys: [String]?) in (keys ?? []).isEmpty ? "nothing" : (keys ?? []).joined(separator: ", ") }
            return "read the configuration again; applied: \(names(payload.applied)); "
                + "at the next start: \(names(payload.pending))"
        case "upgrading": return "becoming hostagent \(payload.version ?? "?"); the guest runs on"
        case "warning": return "warning: \(payload.message ?? "")"
        case "failure": return "error: \(payload.message ?? "")"
        case "exiting": return "exiting with status \(payload.exitStatus ?? 0)"
        default: return nil
        }
    }

    private static func forward(_ status: EventRecord.PortForwardStatus?) -> String? {
        guard let status else { return nil }
        let what =
            "\(status.protocol) \(status.hostAddr) to the guest's \(status.guestAddr.split(separator: ":").last ?? "")"
        switch status.type {
        case "forwarding": return "forwarding \(what)"
        case "failed": return "warning: not forwarding \(what): \(status.error ?? "")"
        default: return "not forwarding \(what) any more"
        }
    }
}
