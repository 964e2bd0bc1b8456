import AgentAPI
import GuestAccess
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import Synchronization

/// Access to a guest through SSH and the channel.
struct GuestAccessPlan: AccessPlan {
    let instance: Instance
    let home: LimaHome
    let network: GuestSeed.Network
    let searchPath: String?

    private var directory: InstanceDirectory { instance.directory }
    private var configuration: Configuration { instance.configuration }

    func prepare() async throws {
        let key = try await SSHKey.ensure(in: home.configurationDirectory)
        let seed = GuestSeed(
            instance: instance.name,
            user: configuration.user, authorizedKeys: [key.authorizedKey],
            environment: configuration.environment.map { ($0.name, $0.value) }, scriptVariables: parameters,
            scripts: configuration.provisioning.map { ($0.mode.rawValue, $0.script) },
            network: network, plain: configuration.plain)
        try await SeedVolume.write(seed.files, to: directory.cidata, searchPath: searchPath)
    }

    /// As in Lima, scripts and probes have the parameters as variables.
    private var parameters: [(name: String, value: String)] {
        configuration.parameters.map { ("PARAM_" + $0.name, $0.value) }
    }

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
        let text = try ssh.text
        do {
            try TextFile.replace(directory.sshConfiguration, with: text)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.sshConfiguration): \(error.reason)")
        }
    }

    /// The SSH port, or 0 before it was chosen.
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

    func openChannel() async throws -> (any ChannelToGuest)? {
        configuration.plain ? nil : try await GuestChannel.open(socket: directory.channelSocket)
    }

    private var login: GuestLogin {
        GuestLogin(
            configurationFile: directory.sshConfiguration, host: "lima-\(instance.name)",
            port: portInUse.port.withLock { $0 })
    }

    func confirm() async throws {
        let failed = { @Sendable [lastFailure] (failure: String) in lastFailure.set("the last login failed: \(failure)")
        }
        try await login.confirm(lastFailure: failed)
        lastFailure.set("")
    }

    func waitForGreeting() async throws { try await login.waitForGreeting() }

    func runProbes() async throws {
        for probe in configuration.probes {
            let succeeded: Void? = try await withTimeLimit(.seconds(Self.probeLimit)) {
                [login, lastFailure, parameters] in
                try await login.probe(probe.script, variables: parameters) { failure in
                    lastFailure.set("the probe \"\(probe.description)\" failed: \(failure)")
                }
            }
            if succeeded == nil {
                throw HostError(
                    .failed,
                    "the probe \"\(probe.description)\" did not succeed within \(Self.probeLimit) s\(lastFailure.clause)",
                    hint: probe.hint.isEmpty ? nil : probe.hint)
            }
            lastFailure.set("")
        }
    }

    /// The reason why the last attempt of the current wait failed.
    private final class LastFailure: Sendable {
        private let text = Mutex("")

        func set(_ reason: String) { text.withLock { $0 = reason } }

        /// The reason as the end of a sentence; empty if nothing failed.
        var clause: String { text.withLock { $0.isEmpty ? "" : "; " + $0 } }
    }
    private let lastFailure = LastFailure()

    /// The time in seconds that a probe has to succeed.
    private static let probeLimit = 600

    var evidence: String {
        lastFailure.clause + consoleEvidence
    }

    /// The last lines of the guest's console.
    private var consoleEvidence: String {
        // The older part of the log may be of another boot.
        let lines = TextFile.tail(directory.serialLog, count: 4096).split(whereSeparator: \.isNewline).suffix(5)
        guard !lines.isEmpty else { return "; the guest's console (\(directory.serialLog)) is empty" }
        let shown = lines.map { line in
            "\n    " + DisplayText.cleaned(String(line))
        }
        return "; the last lines of \(directory.serialLog):" + shown.joined()
    }
}
