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
            var info = proc_bsdinfo()
            let size = Int32(MemoryLayout<proc_bsdinfo>.size)
            guard proc_pidinfo(pid, PROC_PIDTBSDINFO, 0, &info, size) == size, info.pbi_uid == info.pbi_ruid, isAlive
            else { return nil }
            return info.pbi_uid
        #endif
    }

    /// Whether it has this very file open, and opened it in the file's own directory. Another name of the file in
    /// another directory (a hard link) does not count. A directory that was moved since is still the same one.
    /// - Returns: false also when the system does not report open files (macOS).
    package func hasOpen(_ path: String) -> Bool {
        #if canImport(Glibc)
            guard let file = Files.identity(path), let slash = path.lastIndex(of: "/") else { return false }
            let home = Files.identity(slash == path.startIndex ? "/" : String(path[..<slash]))
            let directory = "/proc/\(pid)/fd"
            let names = (try? Files.names(in: directory)) ?? []
            return names.contains { name in
                guard Files.identity("\(directory)/\(name)") == file,
                    // proc(5): the link's text is the path the file was opened by, with the current names of the
                    // directories.
                    let opened = Files.linkTarget("\(directory)/\(name)"), let end = opened.lastIndex(of: "/")
                else { return false }
                return Files.identity(end == opened.startIndex ? "/" : String(opened[..<end])) == home
            } && isAlive
        #else
            return false
        #endif
    }

    /// Whether the system reports which files a process has open.
    package static var canTellOpenFiles: Bool {
        #if canImport(Glibc)
            true
        #else
            false
        #endif
    }

    /// The arguments it was started with; empty when the system does not report them.
    package var arguments: [String] {
        #if canImport(Glibc)
            let text = (try? TextFile.read("/proc/\(pid)/cmdline")) ?? ""
            return isAlive
                ? text.split(separator: "\0", omittingEmptySubsequences: false).dropLast().map(String.init) : []
        #else
            return isAlive ? Self.argumentsByKernel(pid) : []
        #endif
    }

    #if !canImport(Glibc)
        /// sysctl(3), KERN_PROCARGS2: the number of arguments, the executable's path, padding, the arguments.
        private static func argumentsByKernel(_ pid: Int32) -> [String] {
            var name = [CTL_KERN, KERN_PROCARGS2, pid]
            var size = 0
            guard sysctl(&name, 3, nil, &size, nil, 0) == 0, size > 4 else { return [] }
            var bytes = [UInt8](repeating: 0, count: size)
            guard sysctl(&name, 3, &bytes, &size, nil, 0) == 0, size > 4 else { return [] }
            let count = bytes[0..<4].enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
            let afterPath = bytes[4..<size].drop { $0 != 0 }.drop { $0 == 0 }
            return afterPath.split(separator: 0, omittingEmptySubsequences: false).prefix(count).map {
                String(decoding: $0, as: UTF8.self)
            }
        }
    #endif

    /// The processes of an account; empty when the system does not report them.
    package static func all(ownedBy account: UInt32) -> [ProcessIdentity] {
        ((try? Files.names(in: "/proc")) ?? []).compactMap(Int32.init).compactMap(of(pid:)).filter {
            $0.owner == account
        }
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
