import HostModel

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// A process, identified by pid, start time and boot. A later process with the same pid has another identity.
package struct ProcessIdentity: Sendable, Codable, Hashable {
    package let pid: Int32
    /// When it started: clock ticks since boot on Linux (proc(5), field 22), microseconds since 1970 on macOS.
    package let startTime: UInt64
    /// The boot of the host in which it started.
    package let bootID: String

    package init(pid: Int32, startTime: UInt64, bootID: String) {
        self.pid = pid
        self.startTime = startTime
        self.bootID = bootID
    }

    /// The identity of the process that has this pid now; nil when there is none, or only one that is dead and not yet
    /// reaped.
    package static func of(pid: Int32) -> ProcessIdentity? {
        guard pid > 0, let start = startTime(of: pid, dead: false) else { return nil }
        return ProcessIdentity(pid: pid, startTime: start, bootID: currentBootID)
    }

    /// Whether the pid still belongs to this process, alive or not yet reaped. A process whose first thread has ended
    /// looks dead while its other threads still run. So this property, not `isAlive`, decides whether its end can be
    /// waited for.
    var hasItsNumber: Bool { Self.startTime(of: pid, dead: true) == startTime }

    /// Whether this very process is still alive.
    package var isAlive: Bool { Self.of(pid: pid) == self }

    /// Sends a signal to this very process; false when it is gone. If the pid now belongs to another process, that
    /// process is not signalled.
    @discardableResult
    package func signal(_ number: Int32) -> Bool {
        #if canImport(Glibc)
            let raw = clinux_pidfd_open(pid)
            guard raw >= 0 else { return false }
            let descriptor = Descriptor(taking: raw)
            // The descriptor pins the process, so the comparison has to come after it.
            guard isAlive else { return false }
            return clinux_pidfd_send_signal(descriptor.number, number) == 0
        #else
            return isAlive && kill(pid, number) == 0
        #endif
    }

    /// The processes that it has started and that still live (proc(5), `children`). Empty where the system does not tell.
    package var children: [ProcessIdentity] {
        #if canImport(Glibc)
            let listed = (try? TextFile.read("/proc/\(pid)/task/\(pid)/children")) ?? ""
            guard isAlive else { return [] }
            return listed.split(separator: " ").compactMap { Int32($0) }.compactMap { Self.of(pid: $0) }
        #else
            return []
        #endif
    }

    /// The account it runs as; nil when its real and effective uid differ, or when it is gone.
    package var owner: UInt32? {
        #if canImport(Glibc)
            // proc(5), status: real, effective, saved and file system uid.
            let line = (try? TextFile.read("/proc/\(pid)/status"))?.split(separator: "\n").first {
                $0.hasPrefix("Uid:")
            }
            let ids = line?.dropFirst("Uid:".count).split(whereSeparator: \.isWhitespace).map(String.init) ?? []
            guard ids.count == 4, ids[0] == ids[1], isAlive else { return nil }
            return UInt32(ids[0])
        #else
            guard let state = DarwinProcess.state(of: pid), state.pbi_uid == state.pbi_ruid, isAlive else { return nil }
            return state.pbi_uid
        #endif
    }

    /// Whether it has this very file open, and opened it in the file's own directory. Another name of the file in
    /// another directory (a hard link) does not count. A directory that was moved since is still the same one.
    package func hasOpen(_ path: String) -> Bool {
        guard let file = Files.identity(path), let home = Files.directoryIdentity(ofEntry: path) else { return false }
        #if canImport(Glibc)
            let directory = "/proc/\(pid)/fd"
            let names = (try? Files.names(in: directory)) ?? []
            // proc(5): the link's text is the path the file was opened by, with the current names of the directories.
            let isOpen = names.contains { name in
                Files.identity("\(directory)/\(name)") == file
                    && Files.linkTarget("\(directory)/\(name)").flatMap(Files.directoryIdentity(ofEntry:)) == home
            }
        #else
            let isOpen = DarwinProcess.openFiles(of: pid).contains {
                $0.identity == file && Files.directoryIdentity(ofEntry: $0.path) == home
            }
        #endif
        return isOpen && isAlive
    }

    /// The arguments it was started with; empty when the system does not report them.
    package var arguments: [String] {
        #if canImport(Glibc)
            let text = (try? TextFile.read("/proc/\(pid)/cmdline")) ?? ""
            return isAlive
                ? text.split(separator: "\0", omittingEmptySubsequences: false).dropLast().map(String.init) : []
        #else
            return isAlive ? DarwinProcess.arguments(of: pid) : []
        #endif
    }

    /// The processes of an account.
    package static func all(ownedBy account: UInt32) -> [ProcessIdentity] {
        #if canImport(Glibc)
            let pids = ((try? Files.names(in: "/proc")) ?? []).compactMap { Int32($0) }
        #else
            let pids = DarwinProcess.processes(ownedBy: account)
        #endif
        return pids.compactMap(of(pid:)).filter { $0.owner == account }
    }

    #if canImport(Glibc)
        /// The kernel's random id of this boot (random(4)).
        package static let currentBootID: String =
            (try? TextFile.read("/proc/sys/kernel/random/boot_id"))?.trimmed ?? "unknown"

        private static func startTime(of pid: Int32, dead: Bool) -> UInt64? {
            guard let stat = try? TextFile.read("/proc/\(pid)/stat") else { return nil }
            // The command's name is in parentheses and may itself contain spaces and parentheses.
            guard let close = stat.lastIndex(of: ")") else { return nil }
            let fields = stat[stat.index(after: close)...].split(separator: " ")
            // proc(5): field 3 (state) is the first after the name, field 22 (starttime) the twentieth.
            guard fields.count > 19, dead || (fields[0] != "Z" && fields[0] != "X") else { return nil }
            return UInt64(fields[19])
        }
    #else
        package static let currentBootID: String = DarwinProcess.bootID() ?? "unknown"

        private static func startTime(of pid: Int32, dead: Bool) -> UInt64? {
            guard let state = DarwinProcess.state(of: pid, dead: dead), dead || state.pbi_status != UInt32(SZOMB) else {
                return nil
            }
            return state.pbi_start_tvsec * 1_000_000 + state.pbi_start_tvusec
        }
    #endif
}
