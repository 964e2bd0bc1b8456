#if !canImport(Glibc)
    import Darwin

    /// What macOS tells about processes: libproc.h and sysctl(3). Linux has /proc instead.
    enum DarwinProcess {
        /// The BSD part of a process's state; nil if there is no such process or we may not ask.
        /// - Parameter dead: whether a process that is dead and not yet reaped counts (proc_pidinfo of XNU finds one only
        ///   with an argument other than 0).
        static func state(of pid: Int32, dead: Bool = false) -> proc_bsdinfo? {
            var info = proc_bsdinfo()
            let size = Int32(MemoryLayout<proc_bsdinfo>.size)
            return proc_pidinfo(pid, PROC_PIDTBSDINFO, dead ? 1 : 0, &info, size) == size ? info : nil
        }

        /// The processes of an account.
        static func processes(ownedBy account: UInt32) -> [Int32] {
            list(Int32.self) { proc_listpids(UInt32(PROC_UID_ONLY), account, $0, $1) }
        }

        /// A file that a process has open.
        struct OpenFile {
            let identity: FileIdentity
            /// The file's current path, as far as the kernel remembers it.
            let path: String
        }

        static func openFiles(of pid: Int32) -> [OpenFile] {
            let descriptors = list(proc_fdinfo.self) { proc_pidinfo(pid, PROC_PIDLISTFDS, 0, $0, $1) }
            return descriptors.filter { $0.proc_fdtype == UInt32(PROX_FDTYPE_VNODE) }.compactMap {
                (descriptor) -> OpenFile? in
                var info = vnode_fdinfowithpath()
                let size = Int32(MemoryLayout<vnode_fdinfowithpath>.size)
                guard proc_pidfdinfo(pid, descriptor.proc_fd, PROC_PIDFDVNODEPATHINFO, &info, size) == size else {
                    return nil
                }
                let stat = info.pvip.vip_vi.vi_stat
                let path = withUnsafeBytes(of: info.pvip.vip_path) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                return OpenFile(
                    identity: FileIdentity(device: Int32(bitPattern: stat.vst_dev), inode: stat.vst_ino), path: path)
            }
        }

        /// Asks with a growing buffer until the answer fits.
        private static func list<Element>(
            _ type: Element.Type, _ ask: (UnsafeMutableRawPointer, Int32) -> Int32
        ) -> [Element] {
            let stride = MemoryLayout<Element>.stride
            var capacity = 256
            while capacity <= 1 << 20 {
                let found: [Element]? = withUnsafeTemporaryAllocation(of: Element.self, capacity: capacity) { buffer in
                    guard let base = buffer.baseAddress else { return [] }
                    let bytes = Int(ask(UnsafeMutableRawPointer(base), Int32(capacity * stride)))
                    guard bytes > 0 else { return [] }
                    return bytes < capacity * stride ? Array(buffer.prefix(bytes / stride)) : nil
                }
                if let found { return found }
                capacity *= 4
            }
            return []
        }

        /// sysctl(3), KERN_PROCARGS2: the number of arguments, the executable's path, padding, the arguments.
        static func arguments(of pid: Int32) -> [String] {
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

        /// The kernel's random id of this boot. Unlike `kern.boottime`, it does not move when the clock is corrected.
        static func bootID() -> String? {
            var size = 0
            guard sysctlbyname("kern.bootsessionuuid", nil, &size, nil, 0) == 0, size > 1 else { return nil }
            var bytes = [UInt8](repeating: 0, count: size)
            guard sysctlbyname("kern.bootsessionuuid", &bytes, &size, nil, 0) == 0 else { return nil }
            return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
#endif
