import GuestDriver
import HostModel
import HostOS
import ServiceManagement

extension Supervisor {
    /// What a supervisor is given.
    package struct Parts: Sendable {
        package var driver: any GuestDriver
        package var access: any AccessPlan
        package var delay: RestartDelay
        package var claim: InstanceClaim
        package var survivor: Survivor?
        package var log: EventLog
        package var notifier: Notifier
        package var deadlines: Deadlines
        package var forwards: [PortForward]
        /// Logs that the guest fills.
        package var guestLogs: [BoundedLog]
        /// Waits for a timer's time.
        package var sleep: @Sendable (Duration) async throws -> Void

        package init(
            driver: any GuestDriver, access: any AccessPlan, delay: RestartDelay, claim: InstanceClaim,
            survivor: Survivor?, log: EventLog, notifier: Notifier, deadlines: Deadlines, forwards: [PortForward],
            guestLogs: [BoundedLog] = [],
            sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
        ) {
            self.driver = driver
            self.access = access
            self.delay = delay
            self.claim = claim
            self.survivor = survivor
            self.log = log
            self.notifier = notifier
            self.deadlines = deadlines
            self.forwards = forwards
            self.guestLogs = guestLogs
            self.sleep = sleep
        }
    }
}
