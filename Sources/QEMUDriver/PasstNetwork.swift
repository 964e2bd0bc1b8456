import GuestDriver
import HostModel
import HostOS

/// passt(1) in the place of QEMU's user network: a process beside QEMU that has the machine's network. Its addresses are the
/// same. It forwards the port of the guest's SSH server, and can open no other port later.
struct PasstNetwork: Sendable {
    /// The name of the program, and of the process in records.
    static let name = "passt"

    private let searchPath: String?
    private let paths: QEMUPaths
    private let sshLocalPort: Int

    /// - Parameter searchPath: the value of `PATH`.
    init(_ paths: QEMUPaths, sshLocalPort: Int, searchPath: String?) {
        self.searchPath = searchPath
        self.paths = paths
        self.sshLocalPort = sshLocalPort
    }

    /// The network of a guest that runs.
    init(_ paths: QEMUPaths, of guest: GuestRecord) {
        self.init(paths, sshLocalPort: guest.sshLocalPort, searchPath: HostProcess.searchPath)
    }

    /// Ends a passt that no machine has ever connected to, which an agent that was killed may have left: it ends when its first
    /// client goes (`--one-off`). One that has a machine does not listen any more.
    static func endUnused(_ paths: QEMUPaths) {
        _ = try? UnixSocket.connect(path: paths.networkSocket)
        try? Files.remove(paths.networkSocket)
    }

    private func executable() throws(HostError) -> String {
        if let path = Tool.path(of: Self.name, in: searchPath) { return path }
        throw HostError(
            .unavailable, "the network is to be passt, and there is no passt in PATH",
            hint: HostPackages.install("passt", homebrew: nil) + ", or remove network: from hostagent.yaml")
    }

    private var arguments: [String] {
        [
            "--foreground", "--quiet", "--socket", paths.networkSocket,
            // It ends with the machine that connects to it.
            "--one-off",
            "--tcp-ports", "127.0.0.1/\(sshLocalPort):22", "--udp-ports", "none",
            "--address", GuestNetwork.guest, "--netmask", "24", "--gateway", GuestNetwork.host,
            "--dns", GuestNetwork.resolver, "--dns-forward", GuestNetwork.resolver,
        ]
            // Without a route of the host that it can take as its model, it would choose other addresses.
            + (HostRoutes.haveDefault ? [] : ["--interface", "lo"])
            // Started by root it would become nobody, and prove nothing about whose it is. It gives up all capabilities anyway.
            + (HostProcess.uid == 0 ? ["--runas", "0"] : [])
    }

    /// Starts passt and waits until QEMU can connect to it.
    /// - Throws: `HostError`. No process is left behind then.
    func start() async throws -> HelperRecord {
        let executable = try executable()
        Self.endUnused(paths)
        try? Files.remove(paths.networkLog)
        let pid: Int32
        do {
            pid = try DetachedProcess(
                executable: executable, arguments: arguments, environment: [:], output: .null,
                error: .append(path: paths.networkLog), blockedSignals: [15, 2, 1]
            ).spawn()
        } catch {
            throw HostError(.unavailable, "cannot start \(executable): \(error.reason)")
        }
        guard let process = ProcessIdentity.of(pid: pid) else {
            throw failure(ProcessIdentity.killedChild(pid).description)
        }
        do {
            // It tells nobody when it listens, and a connection that asks would be the one that it waits for.
            try await wait(for: process) { UnixSocket.isListening(path: paths.networkSocket) }
        } catch {
            await Self.end(process)
            throw error
        }
        return HelperRecord(name: Self.name, process: process, holds: paths.networkLogName)
    }

    /// Waits until the condition holds. No event tells.
    /// - Throws: `HostError` if the process ends first; `CancellationError`.
    private func wait(for process: ProcessIdentity, until condition: () -> Bool) async throws {
        var backoff = Backoff(from: .milliseconds(1), to: .milliseconds(500))
        while !condition() {
            guard process.isAlive else { throw failure(await process.waitUntilEnded()?.description ?? "is gone") }
            try await backoff.pause()
        }
    }

    /// Ends a process that this program has started, and waits until its port is free.
    static func end(_ process: ProcessIdentity) async {
        process.signal(9)
        _ = await Task { await process.ended(within: .seconds(5)) }.value
    }

    private func failure(_ how: String) -> HostError {
        let complaint = complaint
        let because = complaint.isEmpty ? "" : ": \(complaint)"
        if complaint.contains("Failed to bind") {
            return HostError(
                .unavailable, "the SSH port was taken while passt started\(because)",
                hint: "start again, or set ssh.localPort in lima.yaml to another port")
        }
        return HostError(
            .unavailable, "passt \(how)\(because)", hint: "its whole output is in \(paths.networkLog)")
    }

    /// What passt complained of last. Its notes about a missing syslog are none.
    private var complaint: String {
        TextFile.tail(paths.networkLog, count: 4096).split(separator: "\n").map(String.init)
            .last { !$0.trimmed.isEmpty && !$0.contains("to syslog") }?.trimmed ?? ""
    }

    /// Follows passt as long as the machine lives, and replaces it when it ends before the machine, if the machine connects
    /// again by itself.
    /// - Parameters:
    ///   - first: the one on record; nil if the record was lost.
    ///   - record: is called with each one that takes its place.
    func follow(
        _ first: HelperRecord?, of machine: ProcessIdentity, record: (HelperRecord) throws -> Void,
        tell: (GuestEvent) -> Void
    ) async {
        var process = first?.process
        var backoff = Backoff(from: .milliseconds(100), to: .seconds(30))
        while !Task.isCancelled {
            // The kernel hides what passt has open, even from its own account, so nothing proves that it is this guest's. It is
            // waited for, and never signalled: it ends with its machine.
            if let process, process.isAlive { _ = await process.waitUntilEnded() }
            // The end of the machine ends passt, too. One that is not on record may serve it.
            if Task.isCancelled || !machine.isAlive || UnixSocket.isConnected(path: paths.networkSocket) { return }
            if await machine.ended(within: .milliseconds(500)) { return }
            let because = complaint.isEmpty ? "" : ": \(complaint)"
            guard GuestNetwork.reconnects(inArguments: machine.arguments) else {
                return tell(
                    .networkLost(
                        reason: "the guest has no network, because passt has ended\(because); restart the guest "
                            + "(QEMU connects to another passt since its version 8)"))
            }
            tell(.networkLost(reason: "the guest has no network, because passt has ended\(because)"))
            do {
                let helper = try await start()
                process = helper.process
                // Without the record, as on a full disk, the next agent sees by its connection that there is one.
                try? record(helper)
                // Versions of 2025 crash if somebody connects to the forwarded port before the machine has.
                try await wait(for: helper.process) {
                    UnixSocket.isConnected(path: paths.networkSocket) || !machine.isAlive
                }
                guard machine.isAlive else { return await Self.end(helper.process) }
                tell(.networkRestored)
            } catch is CancellationError {
                return
            } catch {
                let reason = (error as? HostError)?.message ?? "\(error)"
                tell(.networkLost(reason: "the guest has no network: \(reason)"))
            }
            guard (try? await backoff.pause()) != nil else { return }
        }
    }
}

extension GuestRecord {
    var passt: HelperRecord? { helpers?.first { $0.name == PasstNetwork.name } }
}
