import Dispatch

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// How a process ended, as far as the one who asks may know.
package enum ProcessEnd: Sendable, Equatable, CustomStringConvertible {
    case exited(status: Int32)
    case signalled(Int32)
    /// Not our child: only that it is gone.
    case gone

    /// A fault of the program itself (signal(7)): SIGILL, SIGABRT, SIGBUS, SIGFPE or SIGSEGV.
    package var isCrash: Bool {
        if case .signalled(let number) = self {
            [SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV].contains(number)
        } else {
            false
        }
    }

    package var description: String {
        switch self {
        case .exited(let status): "ended with status \(status)"
        case .signalled(let number): "was killed by signal \(number)"
        case .gone: "is gone"
        }
    }
}

extension ProcessIdentity {
    /// Waits until this process has ended, woken by the kernel (pidfd_open(2), kqueue), and reaps it if it is a child
    /// of ours. Cancelling the task ends the wait with nil; the process lives on.
    package func waitUntilEnded() async -> ProcessEnd? {
        #if canImport(Glibc)
            let raw = clinux_pidfd_open(pid)
            guard raw >= 0 else { return Self.reap(pid) ?? .gone }
            guard hasItsNumber else {
                close(raw)
                return Self.reap(pid) ?? .gone
            }
            let source = DispatchSource.makeReadSource(fileDescriptor: raw, queue: Self.queue)
            let closeDescriptor: @Sendable () -> Void = { close(raw) }
        #else
            guard isAlive else { return Self.reap(pid) ?? .gone }
            let source = DispatchSource.makeProcessSource(identifier: pid, eventMask: .exit, queue: Self.queue)
            let closeDescriptor: @Sendable () -> Void = {}
        #endif
        let (ends, continuation) = AsyncStream.makeStream(of: ProcessEnd.self)
        let pid = pid
        source.setEventHandler {
            continuation.yield(Self.reap(pid) ?? .gone)
            continuation.finish()
        }
        source.setCancelHandler(handler: closeDescriptor)
        source.activate()
        defer { source.cancel() }
        for await end in ends { return end }
        return nil
    }

    /// Waits for the end, but no longer than this; true when it has come.
    package func ended(within limit: Duration) async -> Bool {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask { await waitUntilEnded() != nil }
            group.addTask {
                try? await Task.sleep(for: limit)
                return false
            }
            let first = await group.next() ?? false
            group.cancelAll()
            return first || !isAlive
        }
    }

    private static let queue = DispatchQueue(label: "process-ends")

    private static func reap(_ pid: Int32) -> ProcessEnd? {
        var status: Int32 = 0
        guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
        // wait(2): the low seven bits are the signal, the next byte the status.
        return status & 0x7f == 0 ? .exited(status: (status >> 8) & 0xff) : .signalled(status & 0x7f)
    }
}

extension ProcessIdentity {
    /// Kills and reaps a child of ours that cannot be identified: its number is not given away before it is reaped.
    package static func killedChild(_ pid: Int32) -> ProcessEnd {
        var status: Int32 = 0
        if let end = reap(pid) { return end }
        kill(pid, SIGKILL)
        waitpid(pid, &status, 0)
        return .signalled(SIGKILL)
    }

    /// Waits for the end of a child of ours that is known to be ending, and reaps it.
    package static func childEnd(of pid: Int32) -> ProcessEnd {
        var status: Int32 = 0
        guard waitpid(pid, &status, 0) == pid else { return .gone }
        return status & 0x7f == 0 ? .exited(status: (status >> 8) & 0xff) : .signalled(status & 0x7f)
    }
}
