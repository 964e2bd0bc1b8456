import GuestDriver
import HostModel
import HostOS
import ServiceManagers

extension Supervisor {
    static func noTimeToUpgrade(_ phase: Phase) -> HostError {
        HostError(
            .held, "the agent cannot be upgraded while it is \(phase.rawValue)", hint: "try again when the guest runs")
    }

    static var noUpgradeDuringSnapshot: HostError {
        HostError(
            .held, "the agent cannot be upgraded while a snapshot is being worked on",
            hint: "try again when that is done")
    }

    package struct Parts: Sendable {
        package var driver: any GuestDriver
        package var access: any AccessPlan
        package var delay: RestartDelay
        package var claim: InstanceClaim
        package var survivor: Survivor?
        package var log: EventLog
        package var notifier: Notifier
        package var deadlines: Deadlines
        package var forwards: ForwardPlan
        package var mounts: MountPlan
        /// Logs that the guest can fill.
        package var guestLogs: [BoundedLog]
        /// Waits until a timer fires.
        package var sleep: @Sendable (Duration) async throws -> Void

        package init(
            driver: any GuestDriver, access: any AccessPlan, delay: RestartDelay, claim: InstanceClaim,
            survivor: Survivor?, log: EventLog, notifier: Notifier, deadlines: Deadlines, forwards: ForwardPlan,
            mounts: MountPlan = .none, guestLogs: [BoundedLog] = [],
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
            self.mounts = mounts
            self.guestLogs = guestLogs
            self.sleep = sleep
        }
    }

    /// What a configuration that was read again asks of a running guest.
    package struct Goal: Sendable {
        /// Seconds that the guest has to shut down.
        package var grace: Int
        package var forwards: ForwardPlan
        /// As the configuration has them: a location may still begin with `{{.Dir}}`.
        package var mounts: [Mount]

        package init(grace: Int, forwards: ForwardPlan, mounts: [Mount] = []) {
            self.grace = grace
            self.forwards = forwards
            self.mounts = mounts
        }
    }

    /// What became of it.
    package struct Applied: Sendable {
        package var ports: PortForwarding.Change
        /// A sentence for each mount that is not as it shall be.
        package var mountComplaints: [String]
    }

    /// A message in the supervisor's queue. A message that announces a guest also carries it.
    enum Message: Sendable {
        case input(Lifecycle.Input)
        case launched(LiveGuest)
        case attached(LiveGuest)
        /// A step of a start has failed or was cancelled.
        case startWork(Lifecycle.Input, attempt: Int)
        case timer(Lifecycle.Timer, generation: Int)
        /// The state of a guest that is slow to boot was checked.
        case bootOverdue(Lifecycle.BootSign, generation: Int)
        case provisioningFailed(mode: String, script: String, status: Int)
        /// The instance's directory is gone, or another agent holds it.
        case claimLost
        case heartbeat(Lifecycle.HeartbeatResult, of: ProcessIdentity)
        /// Replace this program by another one, if the state allows it.
        case upgrade(ProgramReplacement, version: String, CheckedContinuation<HostError?, Never>)
    }
}
