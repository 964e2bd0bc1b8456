import Dispatch
import HostModel

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// How a process ended, as far as the caller can know.
package enum ProcessEnd: Sendable, Equatable, CustomStringConvertible {
    case exited(status: Int32)
    case signalled(Int32)
    /// The process is gone and its status is unknown, because it was not our child.
    case gone

    /// Whether the program itself crashed (signal(7)): SIGILL, SIGABRT, SIGBUS, SIGFPE or SIGSEGV.
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
    /// Waits until this process has ended, and reaps it if it is our child. The kernel wakes the wait (pidfd_open(2),
    /// kqueue). Cancelling the task ends the wait with nil; the process lives on.
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

    /// Waits until the process has ended, but no longer than `limit`. True when it has ended.
    package func ended(within limit: Duration) async -> Bool {
        // A cancelled wait is over, too. What counts then is whether the process still runs.
        let hasEnded = try? await withTimeLimit(limit) { await waitUntilEnded() != nil }
        return hasEnded == true || !isAlive
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
    /// Kills and reaps a child of ours that cannot be identified. Its pid is safe to use: it is not reused before the
    /// child is reaped.
    package static func killedChild(_ pid: Int32) -> ProcessEnd {
        var status: Int32 = 0
        if let end = reap(pid) { return end }
        kill(pid, SIGKILL)
        waitpid(pid, &status, 0)
        return .signalled(SIGKILL)
    }

    /// Blocks until a child of ours has ended, and reaps it.
    package static func childEnd(of pid: Int32) -> ProcessEnd {
        var status: Int32 = 0
        guard waitpid(pid, &status, 0) == pid else { return .gone }
        return status & 0x7f == 0 ? .exited(status: (status >> 8) & 0xff) : .signalled(status & 0x7f)
    }
}
