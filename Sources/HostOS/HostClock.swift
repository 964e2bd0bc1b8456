// Dispatch sources may be used from any thread, but are not marked as sendable.
@preconcurrency import Dispatch
import Synchronization

#if canImport(Glibc)
    import CLinux
    import Glibc
#else
    import Darwin
#endif

/// Reports when the host's clock has jumped: it was set, or the host slept. The guest notices neither.
///
/// On Linux the kernel reports a jump at once, also at the end of a suspend (timerfd_create(2),
/// TFD_TIMER_CANCEL_ON_SET). Elsewhere the owner calls `check()` from a timer that it has anyway.
package final class HostClock: Sendable {
    /// The host's time zone by its name in the IANA database; nil if it has none.
    package static var timeZone: String? {
        // localtime(5): the link leads to a file under zoneinfo.
        guard let target = Files.linkTarget("/etc/localtime"), let range = target.firstRange(of: "zoneinfo/") else {
            return nil
        }
        return String(target[range.upperBound...])
    }

    /// Yields after each jump. Finishes with the watch.
    package let jumps: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    #if canImport(Glibc)
        private let source: (any DispatchSourceRead)?

        package init() {
            let (jumps, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            self.jumps = jumps
            self.continuation = continuation
            let timer = clinux_clock_watch()
            guard timer >= 0 else {
                source = nil
                return
            }
            let source = DispatchSource.makeReadSource(fileDescriptor: timer)
            source.setEventHandler {
                // A cancelled timer must be armed again before it reports the next jump.
                if clinux_clock_jumped(timer) == 1 { continuation.yield() }
            }
            source.setCancelHandler { close(timer) }
            source.resume()
            self.source = source
        }

        deinit {
            source?.cancel()
            continuation.finish()
        }

        package func check() {}
    #else
        private let asleep: Mutex<Double>

        package init() {
            (jumps, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            asleep = Mutex(Self.secondsAsleep)
        }

        deinit { continuation.finish() }

        /// Reports a jump when the host has slept since the last call.
        package func check() {
            let slept = asleep.withLock { before in
                let now = Self.secondsAsleep
                defer { before = now }
                return now - before > 0.5
            }
            if slept { continuation.yield() }
        }

        /// clock_gettime(3) of macOS: CLOCK_MONOTONIC keeps counting while the host sleeps, CLOCK_UPTIME_RAW does not.
        private static var secondsAsleep: Double {
            let (all, awake) = (clock_gettime_nsec_np(CLOCK_MONOTONIC_RAW), clock_gettime_nsec_np(CLOCK_UPTIME_RAW))
            return (Double(all) - Double(awake)) / 1e9
        }
    #endif

    /// Seconds since 1970.
    package static var now: Double {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
