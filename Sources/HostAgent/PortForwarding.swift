import GuestDriver
import HostModel

/// Makes the ports that lead to a guest those of its configuration.
struct PortForwarding: Sendable {
    let guest: any Guest
    let log: EventLog

    /// Opens what is missing and closes what is not wanted. A port that cannot be opened costs that port alone.
    /// - Returns: a sentence for each that could not be.
    @discardableResult
    func become(_ wanted: [PortForward]) async -> [String] {
        let there: Set<PortForward>
        do {
            there = try await guest.portForwards()
        } catch {
            log.emit(.warning("the guest's forwarded ports could not be looked at: \(error)"))
            return ["\(error)"]
        }
        for forward in there.subtracting(wanted).sorted() {
            await change(forward, to: .stopped) { try await guest.close(forward) }
        }
        var complaints: [String] = []
        for forward in wanted where !there.contains(forward) {
            let complaint = await change(forward, to: .forwarding) { try await guest.open(forward) }
            if let complaint { complaints.append(complaint) }
        }
        return complaints
    }

    @discardableResult
    private func change(
        _ forward: PortForward, to state: PortForwardState, _ work: () async throws -> Void
    ) async -> String? {
        do {
            try await work()
            log.emit(.portForward(forward, state))
            return nil
        } catch {
            let reason = (error as? HostError)?.message ?? "\(error)"
            log.emit(.portForward(forward, .failed(reason: reason)))
            return "\(forward): \(reason)"
        }
    }
}
