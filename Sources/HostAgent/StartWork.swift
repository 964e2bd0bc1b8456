import GuestAccess
import GuestDriver
import HostModel
import HostOS

/// What the supervisor does to bring a guest up, step by step. Each step runs in a task that a stop cancels, and reports
/// how it ended.
struct StartWork: Sendable {
    let driver: any GuestDriver
    let access: any AccessPlan
    let delay: RestartDelay
    let survivor: Survivor?
    let log: EventLog

    /// Seconds a surviving guest's machine may be silent, as long as a running guest's.
    private static let attachLimit = 60

    func prepare() async throws {
        try await delay.wait(log)
        try await access.prepare()
        try await driver.prepare()
    }

    func launch() async throws -> LiveGuest {
        let port = try access.choosePort()
        log.setSSHLocalPort(port)
        try access.writeSSHConfiguration(port: port)
        // From here on the guest has to reach its owner, cancelled or not.
        return await live(try await driver.launch(sshLocalPort: port))
    }

    func attach(to survivor: Survivor) async throws -> LiveGuest {
        let guest = try await connection(to: survivor.guest)
        log.setSSHLocalPort(survivor.guest.sshLocalPort)
        do {
            try access.writeSSHConfiguration(port: survivor.guest.sshLocalPort)
        } catch {
            // A full disk must not cost the guest; the file is there from before.
            log.emit(.warning(error.message))
        }
        return await live(guest)
    }

    /// A guest that does not answer for as long as a running one may be silent is lost.
    private func connection(to guest: SurvivingGuest) async throws -> any Guest {
        do {
            return try await driver.finder.attach(guest, patience: .seconds(Self.attachLimit))
        } catch let error as HostError where error.code == .failed && guest.process.isAlive {
            let isKilled = await driver.finder.kill(guest)
            throw HostError(
                .failed, "\(error.message) for \(Self.attachLimit) s" + (isKilled ? " and was killed" : ""))
        }
    }

    /// A channel that cannot be connected to costs progress, not the guest.
    private func live(_ guest: any Guest) async -> LiveGuest {
        var channel: (any ChannelToGuest)?
        do {
            channel = try await access.openChannel()
        } catch {
            log.emit(.warning("\(error)"))
        }
        log.setGuest(pid: guest.pid, accelerator: guest.accelerator)
        return LiveGuest(guest: guest, channel: channel)
    }

    func confirmAccess(probes: Bool) async throws {
        let began = HostProcess.monotonicSeconds
        if probes { try await access.confirm() } else { try await confirmPatiently() }
        log.emit(.accessConfirmed(milliseconds: Int((HostProcess.monotonicSeconds - began) * 1000)))
        if probes { try await access.runProbes() }
    }

    /// A guest that had been ready before is never given up: also an ssh that cannot be started is tried again.
    private func confirmPatiently() async throws {
        var backoff = Backoff(from: .seconds(1), to: .seconds(30))
        while true {
            do {
                return try await access.confirm()
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                try await backoff.pause()
            }
        }
    }

    /// What a guest looks like that takes long to boot.
    static func bootSign(of guest: any Guest) async -> Lifecycle.BootSign {
        do {
            if try await guest.checkAlive() != nil { return .stalled }
            return try await guest.secondsIdle() ?? .infinity > Deadlines.silence ? .silent : .busy
        } catch {
            // A machine that does not answer.
            return .silent
        }
    }
}
