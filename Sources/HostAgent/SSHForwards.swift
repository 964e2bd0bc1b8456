import Foundation
import HostModel
import HostOS
import InstanceStore
import Synchronization

/// The forwards of the guest's control master (ssh(1), `-O forward` and `-O cancel`). The master does not tell what it
/// forwards, so that is recorded for the next agent, before it is so.
final class SSHForwards: GuestConnections {
    private struct State {
        var forwards: Set<ConnectionForward>?
        var master: ProcessIdentity?
    }

    private let directory: InstanceDirectory
    /// The words of ssh that reach the master.
    private let command: [String]
    private let state = Mutex(State())
    let changes: AsyncStream<Void>
    let obstacle: String?
    private let changed: AsyncStream<Void>.Continuation
    /// A guest whose SSH server does not answer must not hold up what does not need it.
    private static let patience = Duration.seconds(10)

    /// - Parameters:
    ///   - options: those of ssh that reach the master.
    ///   - host: the name of the guest in them.
    ///   - obstacle: why there is no master; nil if there can be one.
    init(directory: InstanceDirectory, options: [String], host: String, obstacle: String?) {
        self.directory = directory
        self.obstacle = obstacle
        command = options + [host]
        // One value stands for all that nobody has seen yet.
        (changes, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    var forwards: Set<ConnectionForward>? { state.withLock { $0.forwards } }

    /// There is a master.
    /// - Parameter isFound: an earlier agent has started it.
    func connected(to master: ProcessIdentity, isFound: Bool) async {
        state.withLock { $0 = State(forwards: nil, master: master) }
        var there: Set<ConnectionForward> = []
        // The record is a claim. The master agrees to what it forwards already.
        for forward in isFound ? recorded : [] {
            if let result = try? await control("forward", forward), result.succeeded { there.insert(forward) }
        }
        let isStillThere = state.withLock { state in
            guard state.master == master else { return false }
            state.forwards = there
            return true
        }
        if isStillThere { changed.yield() }
    }

    /// The master has ended, and what it forwarded with it.
    func disconnected() {
        let lost = state.withLock { state in
            defer { state = State() }
            return (forwards: state.forwards ?? recorded, master: state.master)
        }
        for forward in lost.forwards { try? removeSocket(of: forward, master: lost.master) }
        try? Files.remove(directory.sshForwards)
        changed.yield()
    }

    private var recorded: Set<ConnectionForward> {
        guard let bytes = try? TextFile.bytes(directory.sshForwards, limit: 1 << 20),
            let forwards = try? JSONDecoder().decode(Set<ConnectionForward>.self, from: Data(bytes))
        else { return [] }
        return forwards
    }

    private func record(_ forwards: Set<ConnectionForward>) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes]
        try TextFile.replace(directory.sshForwards, with: Array(try encoder.encode(forwards.sorted())))
    }

    func open(_ forward: ConnectionForward) async throws {
        let (there, master) = state.withLock { ($0.forwards, $0.master) }
        guard let there, let master else { throw Self.noConnection }
        if forward.isReverse { await removeGuestSocket(forward.guest) }
        if let path = forward.hostSocket, !forward.isReverse { try makeRoom(for: path, master: master) }
        try record(there.union([forward]))
        let result = try await control("forward", forward)
        let isOpen = state.withLock { state in
            guard result.succeeded, state.master == master else { return false }
            state.forwards?.insert(forward)
            return true
        }
        if isOpen { return }
        // The record of a master that has ended is gone already.
        if state.withLock({ $0.master == master }) { try record(there) }
        throw HostError(.unavailable, reason(of: forward, result))
    }

    func close(_ forward: ConnectionForward) async throws {
        let (there, master) = state.withLock { ($0.forwards, $0.master) }
        guard let there, let master else { return }
        let result = try await control("cancel", forward)
        // What cannot be cancelled is not there, or the master has ended.
        let isCurrent = state.withLock { state in
            guard state.master == master else { return false }
            state.forwards?.remove(forward)
            return true
        }
        guard isCurrent else { return }
        try record(there.subtracting([forward]))
        try removeSocket(of: forward, master: master)
        if forward.isReverse { await removeGuestSocket(forward.guest) }
        guard result.succeeded else { throw HostError(.failed, result.complaint) }
    }

    private func control(_ verb: String, _ forward: ConnectionForward) async throws -> Tool.Result {
        try await run(["-O", verb] + forward.option + command)
    }

    private func run(_ words: [String]) async throws -> Tool.Result {
        let tool = Tool("ssh", words)
        guard let result = try await withTimeLimit(Self.patience, { try await tool.run() }) else {
            throw HostError(.unavailable, "the shared SSH connection did not answer within \(Self.patience)")
        }
        return result
    }

    /// The guest's SSH server neither replaces nor removes a socket (sshd_config(5), `StreamLocalBindUnlink`).
    private func removeGuestSocket(_ path: String) async {
        let quoted = ShellWord.quoted(path)
        // If that fails, the forward fails, and says so.
        _ = try? await run(command + ["[ ! -S \(quoted) ] || rm -f \(quoted)"])
    }

    private static let noConnection = HostError(.unavailable, "there is no shared SSH connection")

    /// ssh tells only that it failed.
    private func reason(of forward: ConnectionForward, _ result: Tool.Result) -> String {
        guard !forward.isReverse, let port = IPEndpoint(forward.host)?.port else { return result.complaint }
        return port < 1024 && HostProcess.uid != 0
            ? "ssh could not listen there; ports below 1024 may need a permission (sysctl net.ipv4.ip_unprivileged_port_start)"
            : "ssh could not listen there; another program may have the port (ss -ltnp shows it)"
    }

    // MARK: Sockets of the host

    /// A socket that nobody answers on is what a master left that was killed. Anything else is not ours to remove.
    private func makeRoom(for path: String, master: ProcessIdentity) throws {
        guard path.utf8.count <= UnixSocket.maximumPathLength, !path.contains(where: { ":%[]$\\".contains($0) }) else {
            throw HostError(
                .unavailable, "ssh cannot make a socket of this name: it is too long, or has signs such as : and %")
        }
        let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        try Files.makeDirectory(parent)
        try removeStale(path, master: master)
        guard Files.kind(path) == nil, !Files.isLink(path) else {
            throw HostError(.unavailable, "\(path) exists already; it is not a socket, or a program answers on it")
        }
    }

    private func removeSocket(of forward: ConnectionForward, master: ProcessIdentity?) throws {
        if let path = forward.hostSocket, !forward.isReverse { try removeStale(path, master: master) }
    }

    private func removeStale(_ path: String, master: ProcessIdentity?) throws {
        guard Files.kind(path) == .socket, !Files.isLink(path) else { return }
        do throws(SystemCallError) {
            let connection = try UnixSocket.connect(path: path)
            // A master that is about to end still answers.
            if let master, UnixSocket.peer(of: connection.number)?.pid == master.pid { try Files.remove(path) }
        } catch {
            if error.isRefusal { try Files.remove(path) }
        }
    }
}
