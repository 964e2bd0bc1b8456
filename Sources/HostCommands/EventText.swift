import AgentAPI
import HostModel

/// Renders events as text for people.
package enum EventText {
    /// The lines that stay on the terminal; empty for events without lasting interest.
    package static func lines(_ record: EventRecord) -> [String] {
        sentences(record).enumerated().map { index, line in
            index == 0 ? "\(stamp(record.elapsed))  \(line)" : "          \(line)"
        }
    }

    /// The same lines without the time.
    static func sentences(_ record: EventRecord) -> [String] {
        sentence(record)?.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) ?? []
    }

    /// The warning about a port that is not forwarded as configured; nil for other events.
    package static func portWarning(_ record: EventRecord) -> String? {
        record.status.portForward?.type == "failed" ? forward(record.status.portForward) : nil
    }

    /// The progress line of a start or stop; nil when nothing is under way.
    package static func progress(_ record: EventRecord) -> String? {
        if record.phase.isUsable || record.phase.isFinal { return nil }
        let detail = record.status.cloudInitProgress?.logLine.map { ": \($0)" } ?? " …"
        return "\(stamp(record.elapsed))  \(record.phase.rawValue)\(detail)"
    }

    /// Seconds in seven columns, so that the text after them is aligned.
    private static func stamp(_ seconds: Double) -> String {
        let hundredths = Int((seconds * 100).rounded())
        let text = "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
        return String(repeating: " ", count: max(0, 6 - text.count)) + text + " s"
    }

    private static func sentence(_ record: EventRecord) -> String? {
        switch record.event {
        case .phase: return record.phase.rawValue
        case .guestSpawned(let guest):
            return "the guest is process \(guest.pid), accelerator \(guest.accelerator.rawValue), "
                + "SSH on 127.0.0.1:\(record.status.sshLocalPort ?? 0)"
        case .attached(let guest):
            return "attached to the guest, process \(guest.pid), which outlived its agent"
                + (guest.previousAgentPID.map { " (process \($0))" } ?? "")
        case .guestRebooted: return "the guest rebooted"
        case .guestReady: return "the guest's boot scripts are done"
        case .accessConfirmed(let login): return "logged in over SSH in \(login.milliseconds) ms"
        case .provisioningFailed: return "error: " + (record.status.errors?.last ?? "a provisioning script failed")
        case .stopRequested(let request): return (request.force ? "forced stop" : "stop") + ", asked by \(request.by)"
        case .stopStep(let taken):
            switch taken.step {
            case .ask: return "asked the guest to shut down"
            case .askAgain: return "asked the guest again"
            case .quit: return "told the machine to end"
            case .kill: return "killed the machine"
            }
        case .guestEnded(let end):
            return end.step.map { "the guest is gone, \(end.seconds) s after the stop began (\($0.rawValue))" }
                ?? "the guest ended by itself"
        case .guestUnresponsive: return "the machine does not answer"
        case .guestResponsive: return "the machine answers again"
        case .portForward: return forward(record.status.portForward)
        case .mount(let mount):
            let (location, point) = (DisplayText.cleaned(mount.location), DisplayText.cleaned(mount.mountPoint))
            let reason = DisplayText.cleaned(mount.reason ?? "")
            return switch mount.state {
            case "mounted": "mounted \(location) at \(point) (\(mount.type?.rawValue ?? "?"))"
            case "removed": "unmounted \(location) at \(point)"
            case "lost": "warning: \(location) is not mounted at \(point) any more: \(reason)"
            default: "warning: \(location) is not mounted at \(point): \(reason)"
            }
        case .guestClockSet(let reason): return "told the guest the time: \(reason.message)"
        case .reloaded(let keys):
            let names = { (keys: [String]) in keys.isEmpty ? "nothing" : keys.joined(separator: ", ") }
            return "read the configuration again; applied: \(names(keys.applied)); "
                + "at the next start: \(names(keys.pending))"
        case .snapshot(let snapshot):
            return "\(snapshot.change.past) the snapshot \(DisplayText.cleaned(snapshot.tag))"
        case .upgrading(let next): return "upgrading to hostagent \(next.version); the guest runs on"
        case .warning(let text): return "warning: \(text.message)"
        case .failure(let text): return "error: \(text.message)"
        case .exiting(let end): return "exiting with status \(end.exitStatus)"
        case .download(let download):
            guard let progress = download.progress, progress.state != .receiving, progress.state != .followed else {
                return nil
            }
            return DownloadText.sentence(progress)
        case .guestLog, .unknown: return nil
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
