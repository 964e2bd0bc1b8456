import AgentAPI
import GuestAccess
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import Synchronization

/// Access to a guest through SSH and the channel.
package struct GuestAccessPlan: AccessPlan {
    let instance: Instance
    let home: LimaHome
    let network: GuestSeed.Network

    private var directory: InstanceDirectory { instance.directory }
    private var configuration: Configuration { instance.configuration }

    package func prepare() async throws {
        let key = try await SSHKey.ensure(in: home.configurationDirectory)
        let ownKeys = configuration.ssh.loadsOwnKeys ? SSHKey.authorizedKeys(ofHome: accountHome) : []
        let volume = try GuestSeed(
            instance, authorizedKeys: [key.authorizedKey] + ownKeys, scriptVariables: parameters, network: network,
            environment: environment
        ).volume
        // A volume that somebody replaced means that another program, such as Lima, has used the guest.
        let confirmed = SetUp.Confirmation(read: directory.seedApplied)
        let isOurs = confirmed.map { $0.volume == SeedVolume.applicationIdentifier(of: directory.cidata) } ?? false
        try await SeedVolume.write(volume.files, to: directory.cidata, searchPath: searchPath)
        // The guest confirms it at every boot. One that does not get that far is set up again by the next start.
        try? Files.remove(directory.seedApplied)
        setUp.withLock {
            $0.next = .init(identity: volume.identity, volume: SeedVolume.digest(of: volume.files))
            $0.isDone = isOurs && confirmed?.identity == volume.identity
        }
    }

    package var bootNotice: BootNotice {
        guard setUp.withLock({ $0.isDone }) else { return BootNotice() }
        // cloud-init's generator reads the first argument (cloud-init, "How to disable cloud-init"), our unit the second.
        // Our own generator reads the asset tag.
        return BootNotice(
            kernelArguments: ["cloud-init=disabled", "hostagent.setup=done"], assetTag: "hostagent.setup=done")
    }

    package func confirmSetUp(seed: String) {
        // A guest that lies only spoils its own next boot. Another identity is that of an older configuration.
        guard let next = setUp.withLock({ $0.next }), next.identity == seed else { return }
        do {
            try TextFile.replace(directory.seedApplied, with: next.text)
        } catch {
            warn("the guest's next start runs cloud-init again: cannot write \(directory.seedApplied): \(error.reason)")
        }
    }

    private struct SetUp {
        /// What the guest confirms: the identity of the seed, and the digest of the volume that it was on.
        struct Confirmation {
            var identity: String
            var volume: String

            var text: String { "\(identity) \(volume)\n" }

            init(identity: String, volume: String) {
                self.identity = identity
                self.volume = volume
            }

            init?(read path: String) {
                guard let text = try? TextFile.read(path, limit: 4096) else { return nil }
                let words = text.trimmed.split(separator: " ")
                guard words.count == 2 else { return nil }
                self.init(identity: String(words[0]), volume: String(words[1]))
            }
        }

        /// Nil before the volume was written by this agent.
        var next: Confirmation?
        /// The guest has confirmed that it was set up with this seed, and nobody else has used it since.
        var isDone = false
    }
    private let setUp = SharedState(SetUp())

    private var accountHome: String { environment["HOME"] ?? HostProcess.account?.home ?? "/" }

    /// As in Lima, scripts and probes have the parameters as variables.
    private var parameters: [(name: String, value: String)] {
        configuration.parameters.map { ("PARAM_" + $0.name, $0.value) }
    }

    package func choosePort() throws(HostError) -> Int {
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

    package func restoreSSHConfiguration() -> Bool {
        let port = portInUse.withLock { $0 }
        guard port != 0, Files.kind(directory.sshConfiguration) == nil else { return false }
        return (try? writeSSHConfiguration(port: port)) != nil
    }

    package func writeSSHConfiguration(port: Int) throws(HostError) {
        portInUse.withLock { $0 = port }
        let ssh = SSHConfiguration(
            instance: instance.name, identityFile: home.configurationDirectory + "/user",
            user: configuration.user.name, port: port, forwardsAgent: configuration.ssh.forwardsAgent,
            forwardsX11: configuration.ssh.forwardsX11, forwardsX11Trusted: configuration.ssh.forwardsX11Trusted,
            controlPath: sharesConnection ? directory.sshMasterSocket : nil)
        let text = try ssh.text
        do {
            try TextFile.replace(directory.sshConfiguration, with: text)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.sshConfiguration): \(error.reason)")
        }
    }

    /// The SSH port, or 0 before it was chosen.
    private let master: SSHMaster
    private let portInUse = SharedState(0)

    private let warn: @Sendable (String) -> Void
    private let environment: [String: String]
    private var searchPath: String? { environment["PATH"] }

    /// - Parameters:
    ///   - environment: the variables of this process.
    ///   - warn: gets a sentence about what does not work.
    package init(
        instance: Instance, home: LimaHome, network: GuestSeed.Network, environment: [String: String],
        warn: @escaping @Sendable (String) -> Void
    ) {
        self.warn = warn
        master = SSHMaster(
            directory: instance.directory, host: "lima-\(instance.name)", environment: environment,
            obstacle: Self.obstacleToSharing(instance), report: warn)
        self.instance = instance
        self.home = home
        self.network = network
        self.environment = environment
    }

    /// What is forwarded with a connection belongs to the person who opens it, so it is not shared. While it binds the
    /// master's socket, ssh appends 17 characters to the path.
    private static func obstacleToSharing(_ instance: Instance) -> String? {
        let ssh = instance.configuration.ssh
        if ssh.forwardsAgent || ssh.forwardsX11 || ssh.forwardsX11Trusted {
            return "the SSH connection is not shared, because ssh.forwardAgent or ssh.forwardX11 is set"
        }
        return instance.directory.sshMasterSocket.utf8.count + 17 <= UnixSocket.maximumPathLength
            ? nil : "the SSH connection is not shared, because the path of the instance's directory is too long"
    }

    private var sharesConnection: Bool { Self.obstacleToSharing(instance) == nil }

    package func follow(_ phase: Phase) {
        if sharesConnection { master.follow(phase) }
        if phase.isFinal { copies.removeThoseOfARun() }
    }

    package func prepareForOtherState() {
        // The earlier state knows nothing of the connections of now, as after a boot.
        if sharesConnection { master.follow(.booting) }
        try? Files.remove(directory.seedApplied)
    }

    private var copies: GuestCopies {
        GuestCopies(
            copies: configuration.copiesToHost, directory: directory, host: "lima-\(instance.name)", warn: warn)
    }

    package func openChannel() async throws -> (any ChannelToGuest)? {
        configuration.plain ? nil : try await GuestChannel.open(socket: directory.channelSocket)
    }

    package var connections: any GuestConnections { master.forwards }

    private var login: GuestLogin {
        GuestLogin(
            configurationFile: directory.sshConfiguration, host: "lima-\(instance.name)",
            port: portInUse.withLock { $0 })
    }

    package func confirm() async throws {
        let failed = { @Sendable [lastFailure] (failure: String) in lastFailure.set("the last login failed: \(failure)")
        }
        try await login.confirm(lastFailure: failed)
        lastFailure.set("")
    }

    package func waitForGreeting() async throws { try await login.waitForGreeting() }

    package func runProbes() async throws {
        for probe in configuration.probes {
            let name = "the probe \"\(probe.description)\""
            let hint =
                probe.hint.isEmpty
                ? "" : " (\(DisplayText.cleaned(probe.hint).split(whereSeparator: \.isNewline).joined(separator: " ")))"
            lastFailure.set("\(name) has not ended\(hint)")
            let succeeded: Void? = try await withTimeLimit(.seconds(Self.probeLimit)) {
                [login, lastFailure, parameters] in
                try await login.probe(probe.script, variables: parameters) { failure in
                    lastFailure.set("\(name) failed: \(failure)\(hint)")
                }
            }
            if succeeded == nil {
                throw HostError(
                    .failed, "a probe did not succeed within \(Self.probeLimit) s\(lastFailure.clause)")
            }
            lastFailure.set("")
        }
        try await copies.makeAll()
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

    package var evidence: String {
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

/// A value that copies of a plan share.
private final class SharedState<Value: Sendable>: Sendable {
    private let value: Mutex<Value>

    init(_ value: Value) { self.value = Mutex(value) }

    func withLock<Result: Sendable>(_ body: (inout sending Value) -> sending Result) -> Result {
        value.withLock(body)
    }
}
