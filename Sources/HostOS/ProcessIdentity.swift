#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// A process, told apart from any later one with the same number: pid, start time and boot together.
package struct ProcessIdentity: Sendable, Codable, Hashable {
    package let pid: Int32
    /// When it started: clock ticks since boot on Linux (proc(5), field 22), microseconds since 1970 on macOS.
    package let startTime: UInt64
    /// Which boot of the host that was.
    package let bootID: String

    package init(pid: Int32, startTime: UInt64, bootID: String) {
        self.pid = pid
        self.startTime = startTime
        self.bootID = bootID
    }

    /// The identity of the process that has this number now; nil where there is none, or only its unreaped remains.
    package static func of(pid: Int32) -> ProcessIdentity? {
        guard pid > 0, let start = startTime(of: pid, dead: false) else { return nil }
        return ProcessIdentity(pid: pid, startTime: start, bootID: currentBootID)
    }

    /// The number is still this process's, alive or not yet reaped. A process whose first thread has ended shows as
    /// dead while its others still run, so this, not `isAlive`, decides whether its end can be waited for.
    var hasItsNumber: Bool { Self.startTime(of: pid, dead: true) == startTime }

    /// This very process still lives.
    package var isAlive: Bool { Self.of(pid: pid) == self }

    /// Sends a signal to this very process; false when it is gone. A number that was given to another process
    /// meanwhile is never signalled.
    @discardableResult
    package func signal(_ number: Int32) -> Bool {
        #if canImport(Glibc)
            let raw = clinux_pidfd_open(pid)
            guard raw >= 0 else { return false }
            let descriptor = Descriptor(taking: raw)
            // The descriptor pins the process; only now is it compared.
            guard isAlive else { return false }
            return clinux_pidfd_send_signal(descriptor.number, number) == 0
        #else
            return isAlive && kill(pid, number) == 0
        #endif
    }

    /// It has this very file open; false also where the system does not tell.
    package func hasOpen(_ path: String) -> Bool {
        #if canImport(Glibc)
            let directory = "/proc/\(pid)/fd"
            let names = (try? Files.names(in: directory)) ?? []
            return names.contains { Files.isSame("\(directory)/\($0)", path) } && isAlive
        #else
            return false
        #endif
    }

    /// The arguments it was started with; empty where the system does not tell.
    package var arguments: [String] {
        #if canImport(Glibc)
            let text = (try? TextFile.read("/proc/\(pid)/cmdline")) ?? ""
            return isAlive
                ? text.split(separator: "\0", omittingEmptySubsequences: false).dropLast().map(String.init) : []
        #else
            return []
        #endif
    }

    /// The processes whose arguments are such; none where the system does not tell.
    package static func all(where isWanted: ([String]) -> Bool) -> [ProcessIdentity] {
        ((try? Files.names(in: "/proc")) ?? []).compactMap(Int32.init).compactMap(of(pid:)).filter {
            isWanted($0.arguments)
        }
    }

    #if canImport(Glibc)
        /// The kernel's random id of this boot (random(4)).
        package static let currentBootID: String =
            (try? TextFile.read("/proc/sys/kernel/random/boot_id"))?.trimmed ?? "unknown"

        private static func startTime(of pid: Int32, dead: Bool) -> UInt64? {
            guard let stat = try? TextFile.read("/proc/\(pid)/stat") else { return nil }
            // The command's name stands in parentheses and may itself hold spaces and parentheses.
            guard let close = stat.lastIndex(of: ")") else { return nil }
            let fields = stat[stat.index(after: close)...].split(separator: " ")
            // proc(5): field 3 (state) is the first after the name, field 22 (starttime) the twentieth.
            guard fields.count > 19, dead || (fields[0] != "Z" && fields[0] != "X") else { return nil }
            return UInt64(fields[19])
        }
    #else
        package static let currentBootID: String = {
            var time = timeval()
            var size = MemoryLayout<timeval>.size
            guard sysctlbyname("kern.boottime", &time, &size, nil, 0) == 0 else { return "unknown" }
            return "\(time.tv_sec).\(time.tv_usec)"
        }()

        private static func startTime(of pid: Int32, dead: Bool) -> UInt64? {
            var info = proc_bsdinfo()
            let size = Int32(MemoryLayout<proc_bsdinfo>.size)
            guard proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, size) == size, dead || info.pbi_status != SZOMB else {
                return nil
            }
            return info.pbi_start_tvsec * 1_000_000 + info.pbi_start_tvusec
        }
    #endif
}
