import GuestAccess
import GuestDriver
import HostModel
import HostOS

/// The steps with which the supervisor starts a guest. Each step runs in a task that a stop cancels, and reports how it
/// ended.
struct StartWork: Sendable {
    let driver: any GuestDriver
    let access: any AccessPlan
    let delay: RestartDelay
    let survivor: Survivor?
    let log: EventLog

    /// The time in seconds that a surviving guest's machine may be silent. It is the same for a running guest.
    private static let attachLimit = 60

    func prepare() async throws {
        try await delay.wait(log)
        try await access.prepare()
        let throttle = DownloadEvents(log)
        try await driver.prepare { throttle.take($0) }
    }

    func launch() async throws -> LiveGuest {
        let port = try access.choosePort()
        log.setSSHLocalPort(port)
        try access.writeSSHConfiguration(port: port)
        // From here on the guest must be returned to the caller, even if the task is cancelled.
        return await live(try await driver.launch(sshLocalPort: port, notice: access.bootNotice))
    }

    func attach(to survivor: Survivor) async throws -> LiveGuest {
        let guest = try await connection(to: survivor.guest)
        log.setSSHLocalPort(survivor.guest.sshLocalPort)
        do {
            try access.writeSSHConfiguration(port: survivor.guest.sshLocalPort)
        } catch {
            // A full disk must not end the guest. The file from the previous agent still exists.
            log.emit(.warning(error.message))
        }
        return await live(guest)
    }

    /// A guest is lost if it is silent longer than a running guest may be.
    private func connection(to guest: SurvivingGuest) async throws -> any Guest {
        do {
            return try await driver.finder.attach(guest, patience: .seconds(Self.attachLimit))
        } catch let error as HostError where error.code == .failed && guest.process.isAlive {
            let isKilled = await driver.finder.kill(guest)
            throw HostError(
                .failed, "\(error.message) for \(Self.attachLimit) s" + (isKilled ? " and was killed" : ""))
        }
    }

    /// Without a channel there are no progress messages, but the guest can still be used.
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

    /// Retries without a limit, because the guest was ready before. Even a failure to start ssh is retried.
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

    /// Checks the state of a guest that is slow to boot.
    static func bootSign(of guest: any Guest) async -> Lifecycle.BootSign {
        do {
            if try await guest.checkAlive() != nil { return .stalled }
            return try await guest.secondsIdle() ?? .infinity > Deadlines.silence ? .silent : .busy
        } catch {
            // The machine does not answer.
            return .silent
        }
    }
}
