import AgentAPI
import GuestAccess
import HostModel
import HostOS
import InstanceStore
import Synchronization

/// Everything between the agent and the inside of one guest: its seed, its keys, its port, its channel, its probes.
struct GuestAccessPlan: Sendable {
    let instance: Instance
    let home: LimaHome
    let network: GuestSeed.Network
    let searchPath: String?

    private var directory: InstanceDirectory { instance.directory }
    private var configuration: Configuration { instance.configuration }

    /// Makes the key pair and the guest's seed volume.
    func prepare() async throws {
        let key = try await SSHKey.ensure(in: home.configurationDirectory)
        let seed = GuestSeed(
            instance: instance.name,
            user: configuration.user, authorizedKeys: [key.authorizedKey],
            environment: configuration.environment.map { ($0.name, $0.value) },
            scripts: configuration.provisioning.map { ($0.mode.rawValue, $0.script) },
            network: network, plain: configuration.plain)
        try await SeedVolume.write(seed.files, to: directory.cidata, searchPath: searchPath)
    }

    /// The port of 127.0.0.1 for this start.
    /// - Throws: `HostError` with `.unavailable` when the configured one is taken.
    func choosePort() throws(HostError) -> Int {
        if let port = configuration.sshLocalPort {
            if LoopbackPort.isFree(port) { return port }
            throw HostError(
                .unavailable, "port \(port) of 127.0.0.1, the guest's SSH port, is taken by another program",
                hint: "stop that program (ss -ltnp shows it), or set ssh.localPort in lima.yaml to another port or 0")
        }
        do {
            return try LoopbackPort.free()
        } catch {
            throw HostError(.unavailable, "no port of 127.0.0.1 is free: \(error)")
        }
    }

    /// - Returns: it was gone, and is there again.
    func restoreSSHConfiguration() -> Bool {
        let port = portInUse.port.withLock { $0 }
        guard port != 0, Files.kind(directory.sshConfiguration) == nil else { return false }
        return (try? writeSSHConfiguration(port: port)) != nil
    }

    func writeSSHConfiguration(port: Int) throws(HostError) {
        portInUse.port.withLock { $0 = port }
        let ssh = SSHConfiguration(
            instance: instance.name, identityFile: home.configurationDirectory + "/user",
            user: configuration.user.name, port: port)
        do {
            try TextFile.replace(directory.sshConfiguration, with: ssh.text)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.sshConfiguration): \(error.reason)")
        }
    }

    /// The port is known only once it was chosen.
    private final class PortInUse: Sendable {
        let port = Mutex(0)
    }
    private let portInUse = PortInUse()

    init(instance: Instance, home: LimaHome, network: GuestSeed.Network, searchPath: String?) {
        self.instance = instance
        self.home = home
        self.network = network
        self.searchPath = searchPath
    }

    /// nil for a guest that has none, and for one whose channel cannot be connected to: that costs progress, not the
    /// guest.
    func openChannel(_ log: EventLog) async -> GuestChannel? {
        guard !configuration.plain else { return nil }
        do {
            return try await GuestChannel.open(socket: directory.channelSocket)
        } catch {
            log.emit(.warning("\(error)"))
            return nil
        }
    }

    private var login: GuestLogin {
        GuestLogin(
            configurationFile: directory.sshConfiguration, host: "lima-\(instance.name)",
            port: portInUse.port.withLock { $0 })
    }

    func confirm() async throws {
        loginFailure.text.withLock { $0 = "" }
        try await login.confirm { failure in loginFailure.text.withLock { $0 = failure } }
        loginFailure.text.withLock { $0 = "" }
    }

    func waitForBanner() async throws { try await login.waitForBanner() }

    /// Runs the readiness probes one after the other; each is tried until it succeeds.
    /// - Throws: `HostError` with the probe's hint when one does not within its time.
    func runProbes() async throws {
        for probe in configuration.probes {
            let last = LastFailure()
            do {
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    group.addTask { [login] in
                        try await login.probe(probe.script) { failure in last.text.withLock { $0 = failure } }
                        return true
                    }
                    group.addTask {
                        try await Task.sleep(for: .seconds(Self.probeLimit))
                        return false
                    }
                    let succeeded = try await group.next() ?? false
                    group.cancelAll()
                    if !succeeded { throw ProbeTimeout() }
                }
            } catch is ProbeTimeout {
                let said = last.text.withLock { $0 }
                throw HostError(
                    .failed,
                    "the probe \"\(probe.description)\" did not succeed within \(Self.probeLimit) s; it said: \(said)",
                    hint: probe.hint.isEmpty ? nil : probe.hint)
            }
        }
    }

    private final class LastFailure: Sendable {
        let text = Mutex("")
    }
    private struct ProbeTimeout: Error {}
    private let loginFailure = LastFailure()

    /// Seconds a probe is tried.
    private static let probeLimit = 600

    /// What is known when a start took too long, as the end of an error.
    var evidence: String {
        let failure = loginFailure.text.withLock { $0 }
        return (failure.isEmpty ? "" : "; the last login failed: \(failure)") + consoleEvidence
    }

    /// The last lines of the guest's console.
    private var consoleEvidence: String {
        let lines = TextFile.tail(directory.serialLog, count: 4096).split(whereSeparator: \.isNewline).suffix(5)
        guard !lines.isEmpty else { return "; the guest's console (\(directory.serialLog)) is empty" }
        let shown = lines.map { line in
            "\n    " + line.filter { $0.isASCII && !$0.isNewline && ($0.asciiValue ?? 0) >= 32 }
        }
        return "; the last lines of \(directory.serialLog):" + shown.joined()
    }
}
