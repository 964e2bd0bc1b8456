/// The filter of the system calls of a file server, as a program of the kernel's packet filter (seccomp(2)).
///
/// The server may read and write files. It may not make files whose mode has the bits of set-user-ID and set-group-ID: the
/// guest's root could otherwise have a program on the host that runs with the rights of the mount's owner. It may not make
/// processes, reach other processes, or open sockets.
package enum ServerCallFilter: Sendable {
    /// For a server that answers on its standard streams.
    case streams
    /// For a server that works in the memory of the machine. It has threads, and makes pipes and sockets in the file system.
    case sharedMemory

    /// The system calls of one kind of processor, by the numbers of the kernel's tables
    /// (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
    private struct Calls {
        /// AUDIT_ARCH_… of linux/audit.h.
        var architecture: UInt32
        /// Above these are other tables of calls; nil if there are none.
        var limit: UInt32?
        /// Calls that have a mode, and which argument that is.
        var modes: [(call: UInt32, argument: UInt32)]
        /// Calls that are refused.
        var refused: [UInt32]
        /// Calls that a server with threads needs, and whose first argument are flags (clone(2), unshare(2)). Others have no
        /// use for them.
        var ofThreads: [UInt32]
        /// Calls that make entries which are neither files nor directories, and which argument is their mode.
        var nodes: [(call: UInt32, argument: UInt32)]
    }

    private static let x86 = Calls(
        architecture: 0xC000_003E,
        // The calls of the x32 ABI.
        limit: 0x4000_0000,
        modes: [
            // open, creat, mkdir, chmod, fchmod
            (2, 2), (85, 1), (83, 1), (90, 1), (91, 1),
            // openat, mkdirat, fchmodat, fchmodat2
            (257, 3), (258, 2), (268, 2), (452, 2),
        ],
        refused: [
            // openat2 (its mode is not an argument)
            437,
            // socket, socketpair
            41, 53,
            // fork, vfork
            57, 58,
            // kill, tkill, tgkill, pidfd_open, pidfd_send_signal, pidfd_getfd, rt_sigqueueinfo, rt_tgsigqueueinfo
            62, 200, 234, 434, 424, 438, 129, 297,
            // ptrace, process_vm_readv, process_vm_writev, kcmp
            101, 310, 311, 312,
            // mount, umount2, pivot_root, chroot, setns, open_tree, move_mount, fsopen, mount_setattr
            165, 166, 155, 161, 308, 428, 429, 430, 442,
            // io_uring_setup, bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl
            425, 321, 298, 323, 248, 249, 250,
        ],
        // clone, unshare
        ofThreads: [56, 272],
        // mknod, mknodat
        nodes: [(133, 1), (259, 2)])

    private static let arm = Calls(
        architecture: 0xC000_00B7, limit: nil,
        modes: [
            // openat, mkdirat, fchmod, fchmodat, fchmodat2
            (56, 3), (34, 2), (52, 1), (53, 2), (452, 2),
        ],
        refused: [
            // openat2
            437,
            // socket, socketpair
            198, 199,
            // kill, tkill, tgkill, pidfd_open, pidfd_send_signal, pidfd_getfd, rt_sigqueueinfo, rt_tgsigqueueinfo
            129, 130, 131, 434, 424, 438, 138, 240,
            // ptrace, process_vm_readv, process_vm_writev, kcmp
            117, 270, 271, 272,
            // mount, umount2, pivot_root, chroot, setns, open_tree, move_mount, fsopen, mount_setattr
            40, 39, 41, 51, 268, 428, 429, 430, 442,
            // io_uring_setup, bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl
            425, 280, 241, 282, 217, 218, 219,
        ],
        // clone, unshare
        ofThreads: [220, 97],
        // mknodat
        nodes: [(33, 2)])

    /// The filter for this host; nil if its processor is of another kind.
    package func program() -> [UInt8]? {
        #if arch(x86_64)
            Self.assemble(Self.x86, for: self)
        #elseif arch(arm64)
            Self.assemble(Self.arm, for: self)
        #else
            nil
        #endif
    }

    // MARK: The program (linux/filter.h, linux/bpf_common.h)

    private static let load: UInt16 = 0x20  // BPF_LD | BPF_W | BPF_ABS
    private static let jumpIfEqual: UInt16 = 0x15  // BPF_JMP | BPF_JEQ | BPF_K
    private static let jumpIfAtLeast: UInt16 = 0x35  // BPF_JMP | BPF_JGE | BPF_K
    private static let jumpIfAnySet: UInt16 = 0x45  // BPF_JMP | BPF_JSET | BPF_K
    private static let give: UInt16 = 0x06  // BPF_RET | BPF_K

    /// Offsets in struct seccomp_data. Both kinds of processors are little-endian, so an argument begins with its lower half.
    private static let callOffset: UInt32 = 0
    private static let architectureOffset: UInt32 = 4
    private static func offset(of argument: UInt32) -> UInt32 { 16 + 8 * argument }

    private static let allow: UInt32 = 0x7FFF_0000  // SECCOMP_RET_ALLOW
    private static let refuse: UInt32 = 0x0005_0001  // SECCOMP_RET_ERRNO | EPERM
    private static let kill: UInt32 = 0x8000_0000  // SECCOMP_RET_KILL_PROCESS

    private static let deny: UInt32 = 0x0005_0026  // SECCOMP_RET_ERRNO | ENOSYS

    /// S_ISUID | S_ISGID
    private static let privileged: UInt32 = 0o6000
    /// The bit that S_IFCHR and S_IFBLK have, and regular files, FIFOs and sockets have not.
    private static let device: UInt32 = 0o20000
    /// CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID and CLONE_NEWNET of linux/sched.h.
    private static let namespaces: UInt32 = 0x7E02_0000
    /// Has its flags in memory, where a filter cannot see them. The C library uses clone(2) where it is missing.
    private static let clone3: UInt32 = 435

    private static func assemble(_ calls: Calls, for server: ServerCallFilter) -> [UInt8] {
        let isShared = server == .sharedMemory
        let refused = calls.refused + (isShared ? [] : calls.ofThreads + calls.nodes.map(\.call))
        // Calls that are refused if one of these bits is set in the argument.
        var guarded = calls.modes.map { (call: $0.call, argument: $0.argument, bits: privileged) }
        if isShared {
            guarded += calls.nodes.map { ($0.call, $0.argument, privileged | device) }
            guarded += calls.ofThreads.map { ($0, 0, namespaces) }
        }
        var program: [UInt8] = []
        func add(_ code: UInt16, _ value: UInt32, then: UInt8 = 0, otherwise: UInt8 = 0) {
            withUnsafeBytes(of: code.littleEndian) { program += $0 }
            program += [then, otherwise]
            withUnsafeBytes(of: value.littleEndian) { program += $0 }
        }
        add(load, architectureOffset)
        add(jumpIfEqual, calls.architecture, then: 1)
        add(give, kill)
        add(load, callOffset)
        if let limit = calls.limit {
            add(jumpIfAtLeast, limit, otherwise: 1)
            add(give, refuse)
        }
        for call in refused {
            add(jumpIfEqual, call, otherwise: 1)
            add(give, refuse)
        }
        add(jumpIfEqual, clone3, otherwise: 1)
        add(give, deny)
        for (call, argument, bits) in guarded {
            add(jumpIfEqual, call, otherwise: 4)
            add(load, offset(of: argument))
            add(jumpIfAnySet, bits, otherwise: 1)
            add(give, refuse)
            add(give, allow)
        }
        add(give, allow)
        return program
    }
}
