import GuestDriver
import HostModel
import HostOS
import NIOCore

/// A live QEMU process and its monitor.
final class QEMUGuest: Guest {
    let accelerator: Accelerator
    let events: AsyncStream<GuestEvent>
    var pid: Int32 { identity.pid }

    private let identity: ProcessIdentity
    private let monitor: QMPConnection
    private let watch: Task<Void, Never>

    /// - Parameters:
    ///   - complaint: the last thing QEMU said on standard error.
    ///   - revoke: takes back the accelerator's verdict.
    init(
        identity: ProcessIdentity, accelerator: Accelerator, monitor: QMPConnection,
        complaint: @escaping @Sendable () -> String, revoke: @escaping @Sendable () -> Void
    ) {
        self.identity = identity
        self.accelerator = accelerator
        self.monitor = monitor
        let (stream, continuation) = AsyncStream.makeStream(of: GuestEvent.self)
        events = stream
        watch = Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    for await message in monitor.events {
                        let event = await Self.translate(message, monitor, accelerator: accelerator, revoke: revoke)
                        if let event { continuation.yield(event) }
                    }
                }
                group.addTask {
                    let end = await identity.waitUntilEnded()
                    // Everything the monitor said came before the end.
                    monitor.close()
                    let said = complaint()
                    let how = end?.description ?? "is gone"
                    continuation.yield(.ended(reason: said.isEmpty ? how : "\(how), saying: \(said)"))
                }
                await group.waitForAll()
            }
            continuation.finish()
        }
    }

    deinit { watch.cancel() }

    private static func translate(
        _ message: QMPMessage, _ monitor: QMPConnection, accelerator: Accelerator, revoke: @Sendable () -> Void
    ) async -> GuestEvent? {
        guard case .event(let name, let guest, let reason) = message else { return nil }
        switch name {
        // SHUTDOWN's reason (QAPI ShutdownCause): what the guest did itself, but for panics, which have their own.
        case "SHUTDOWN": return guest && reason != "guest-panic" ? .poweredOff : nil
        case "RESET": return guest ? .rebooted : nil
        case "GUEST_PANICKED": return .panicked
        case "STOP":
            // Why it stopped, it says only when asked (QAPI RunState).
            let state = (try? await monitor.execute("query-status")) ?? nil
            switch state {
            case "internal-error":
                if accelerator != .tcg { revoke() }
                return .machineStopped(
                    reason: "QEMU stopped the machine by an internal error of \(accelerator.rawValue)"
                        + (accelerator == .tcg ? "" : "; the next start uses software emulation"))
            case "io-error": return .machineStopped(reason: "the guest's disk cannot be written: is the host's full?")
            default: return nil
            }
        default: return nil
        }
    }

    func checkAlive() async throws {
        do {
            _ = try await monitor.execute("query-status")
        } catch {
            throw HostError(.failed, "QEMU does not answer: \(error)")
        }
    }

    func pressPowerButton() async throws { _ = try await monitor.execute("system_powerdown") }

    func quit() async throws {
        do {
            _ = try await monitor.execute("quit")
        } catch QMPConnection.Failure.closed {
            // It ended before its answer was read.
        }
    }

    func kill() { identity.signal(9) }
}
