import Foundation
import GuestDriver
import HostModel
import HostOS
import InstanceStore
import Synchronization

/// Keeps one SSH connection to the guest open, as OpenSSH's control master (ssh_config(5), `ControlMaster`). Everything
/// that uses `ssh.config` shares it, and makes a connection of its own when there is none.
///
/// The master is a helper of the guest: it outlives the agent, the next agent finds it, and it ends with the guest.
final class SSHMaster: Sendable {
    private let directory: InstanceDirectory
    private let host: String
    private let environment: [String: String]
    private let report: @Sendable (String) -> Void
    let forwards: SSHForwards
    /// Whether the guest can have a master at present.
    private let isWanted = Atomic(false)
    /// How long a master that has ended is not started again.
    private let pause = Mutex(firstPause)
    /// The master that is followed.
    private let current = Mutex<ProcessIdentity?>(nil)
    /// A reason was reported since there last was a master.
    private let hasComplained = Atomic(false)
    /// When the last master ended; nil while there is one, and before the first.
    private let lostAt = Mutex<ContinuousClock.Instant?>(nil)
    /// This agent knows the master's guest: it has started it, or has looked at the master once.
    private let isOwn = Atomic(false)
    /// The last change of what is wanted. Each waits for the one before.
    private let last = Mutex<Task<Void, Never>?>(nil)

    /// - Parameters:
    ///   - environment: the variables of this process.
    ///   - obstacle: why there is no master for this guest; nil if there is.
    ///   - report: gets a sentence when there can be no master.
    init(
        directory: InstanceDirectory, host: String, environment: [String: String], obstacle: String?,
        report: @escaping @Sendable (String) -> Void
    ) {
        self.directory = directory
        self.host = host
        // A helper is not the main process of a unit, and must not talk to the service manager as if it were.
        self.environment = environment.filter { !["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].contains($0.key) }
        self.report = report
        forwards = SSHForwards(
            directory: directory, options: ["-F", directory.sshConfiguration], host: host, obstacle: obstacle)
    }

    /// A usable guest has a master. A master of a guest that boots again is of no use: its connection is dead. A guest that
    /// stops ends its master itself, and gets no other.
    func follow(_ phase: Phase) {
        guard phase.isUsable || phase == .booting || phase == .stopping || phase.isFinal else { return }
        isWanted.store(phase.isUsable, ordering: .relaxed)
        if phase == .stopping { return }
        if phase.isFinal {
            // The connection ended with the guest, and with it the master.
            last.withLock { $0?.cancel() }
            return removeFiles()
        }
        last.withLock { last in
            let (before, isWanted) = (last, phase.isUsable)
            last = Task {
                await before?.value
                if isWanted { await self.open() } else { await self.end() }
            }
        }
    }

    /// The claim about the process that is the master.
    private var recorded: HelperRecord? {
        guard let bytes = try? TextFile.bytes(directory.sshMasterRecord, limit: 4096) else { return nil }
        return try? JSONDecoder().decode(HelperRecord.self, from: Data(bytes))
    }

    private func open() async {
        do {
            // Other people's shells may run in a master that an earlier agent left, so it is ended only if it is shown to be
            // dead. It may be logging in just now.
            if let recorded, recorded.isAlive(in: directory.path), try await isReady(recorded.process) {
                guard try await isDead() else { return await follow(recorded.process, isFound: true) }
            }
            await end()
            isOwn.store(true, ordering: .relaxed)
            guard let ssh = Tool.path(of: "ssh", in: environment["PATH"]) else { return }
            // In the background (-f), ssh would give its complaints away, and its open file of them is what shows that it
            // belongs to this instance.
            let process = DetachedProcess(
                executable: ssh,
                arguments: options + [
                    "-o", "ControlMaster=yes", "-o", "ControlPersist=no", "-o", "ConnectTimeout=20", "-N", host,
                ],
                environment: environment, output: .null, error: .append(path: directory.sshMasterLog))
            guard let master = ProcessIdentity.of(pid: try process.spawn()) else { return complain() }
            let record = HelperRecord(name: "SSH master", process: master, holds: Self.logName)
            try TextFile.replace(directory.sshMasterRecord, with: Array(try JSONEncoder().encode(record)))
            if try await isReady(master) {
                hasComplained.store(false, ordering: .relaxed)
                lostAt.withLock { $0 = nil }
                await follow(master, isFound: false)
            } else {
                if isWorthTelling, !hasComplained.exchange(true, ordering: .relaxed) { complain() }
                // A child has to be waited for.
                Task { [self] in
                    _ = await master.waitUntilEnded()
                    await openLater()
                }
                if master.isAlive { await recorded?.end(in: directory.path) }
            }
        } catch is CancellationError {
            // The guest has ended meanwhile.
        } catch {
            report("no shared SSH connection: \(error)")
        }
    }

    /// A guest that stops or reboots refuses logins, as it should. For some seconds nothing else tells that it does so.
    private var isWorthTelling: Bool {
        guard isWanted.load(ordering: .relaxed) else { return false }
        return lostAt.withLock { $0 }.map { ContinuousClock.now - $0 > .seconds(30) } ?? true
    }

    /// There is a master. When it ends although it is wanted, there will be another.
    private func follow(_ master: ProcessIdentity, isFound: Bool) async {
        let isNew = current.withLock { current in
            defer { current = master }
            return current != master
        }
        guard isNew else { return }
        Task { [self] in
            let began = ContinuousClock.now
            _ = await master.waitUntilEnded()
            let isCurrent = current.withLock { current in
                guard current == master else { return false }
                current = nil
                return true
            }
            guard isCurrent else { return }
            lostAt.withLock { $0 = .now }
            forwards.disconnected()
            if began.duration(to: .now) > .seconds(60) { pause.withLock { $0 = Self.firstPause } }
            await openLater()
        }
        await forwards.connected(to: master, isFound: isFound)
    }

    /// Tries again to have a master. The waits grow while masters end soon.
    private func openLater() async {
        var pause = pause.withLock { $0 }
        try? await pause.pause()
        self.pause.withLock { $0 = pause }
        guard isWanted.load(ordering: .relaxed) else { return }
        last.withLock { last in
            let before = last
            last = Task {
                await before?.value
                if self.isWanted.load(ordering: .relaxed) { await self.open() }
            }
        }
    }

    private static let firstPause = Backoff(from: .milliseconds(100), to: .seconds(60))

    /// Waits for the login. No event tells of it: the socket appears in the instance's directory.
    private func isReady(_ master: ProcessIdentity) async throws -> Bool {
        var backoff = Backoff(from: .milliseconds(50), to: .seconds(1))
        let deadline = ContinuousClock.now + .seconds(60)
        while master.isAlive, ContinuousClock.now < deadline {
            if Files.kind(directory.sshMasterSocket) == .socket { return true }
            try await backoff.pause()
        }
        return false
    }

    private func complain() {
        let said = TextFile.tail(directory.sshMasterLog, count: 300).trimmed
        report("no shared SSH connection" + (said.isEmpty ? "" : ": \(said)"))
    }

    private static let logName = "ssh-master.log"

    private func end() async {
        await recorded?.end(in: directory.path)
        removeFiles()
    }

    private func removeFiles() {
        current.withLock { $0 = nil }
        forwards.disconnected()
        for file in [directory.sshMasterRecord, directory.sshMasterLog, directory.sshMasterSocket] {
            try? Files.remove(file)
        }
    }

    /// Whether a master that an earlier agent left is of no use: a command gets no answer through it, and gets one without
    /// it. The guest may have booted again while there was no agent. A refusal is an answer: there may be as many sessions
    /// as the server allows.
    private func isDead() async throws -> Bool {
        guard !isOwn.exchange(true, ordering: .relaxed) else { return false }
        // Without a master, ssh would make a connection of its own; that is prevented.
        let through = Tool("ssh", options + ["-o", "ProxyCommand=false", host, "true"])
        let beside = Tool("ssh", options + ["-o", "ControlPath=none", "-o", "ConnectTimeout=20", host, "true"])
        func answers(within limit: Duration) async throws -> Bool {
            try await withTimeLimit(limit) { _ = try await through.run() } != nil
        }
        if try await answers(within: .seconds(5)) { return false }
        // A busy host or guest is slow to answer at all. How slow, a login of its own shows.
        let began = ContinuousClock.now
        guard try await beside.run().succeeded else { return false }
        let login = began.duration(to: .now)
        return try await !answers(within: .seconds(5) + login * 3)
    }

    private var options: [String] { ["-F", directory.sshConfiguration] }
}
