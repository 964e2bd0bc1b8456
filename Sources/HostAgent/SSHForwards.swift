import Foundation
import HostModel
import HostOS
import InstanceStore
import Synchronization

/// The forwards of the guest's control master (ssh(1), `-O forward` and `-O cancel`). The master does not tell what it
/// forwards, so that is recorded for the next agent, before it is so.
final class SSHForwards: GuestConnections {
    private let directory: InstanceDirectory
    private let command: [String]
    private struct State {
        var forwards: Set<ConnectionForward>?
        /// The master's process.
        var master: Int32?
    }
    private let state = Mutex(State())
    let changes: AsyncStream<Void>
    private let changed: AsyncStream<Void>.Continuation

    /// - Parameter command: the words of ssh that reach the master, without the host.
    init(directory: InstanceDirectory, options: [String], host: String) {
        self.directory = directory
        command = options + [host]
        // One value stands for all that nobody has seen yet.
        (changes, changed) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    var forwards: Set<ConnectionForward>? { state.withLock { $0.forwards } }

    /// There is a master.
    /// - Parameter isFound: an earlier agent has started it.
    func connected(to master: ProcessIdentity, isFound: Bool) {
        let recorded = isFound ? recorded : []
        state.withLock { $0 = State(forwards: recorded, master: master.pid) }
        changed.yield()
    }

    /// The master has ended, and what it forwarded with it.
    func disconnected() {
        let lost = state.withLock { state in
            defer { state.forwards = nil }
            return state.forwards ?? []
        }
        try? Files.remove(directory.sshForwards)
        for forward in lost { try? removeSocket(of: forward) }
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
        guard let there = forwards else { throw Self.noConnection }
        try record(there.union([forward]))
        if let path = forward.hostSocket, !forward.isReverse {
            try makeRoom(for: path)
        }
        let result = try await Tool("ssh", ["-O", "forward"] + forward.option + command).run()
        guard result.succeeded else {
            try record(there)
            throw HostError(.unavailable, reason(of: forward, result))
        }
        state.withLock { _ = $0.forwards?.insert(forward) }
    }

    func close(_ forward: ConnectionForward) async throws {
        guard let there = forwards else { return }
        let result = try await Tool("ssh", ["-O", "cancel"] + forward.option + command).run()
        // What cannot be cancelled is not there, or the master has ended.
        state.withLock { _ = $0.forwards?.remove(forward) }
        try record(there.subtracting([forward]))
        try removeSocket(of: forward)
        guard result.succeeded else { throw HostError(.failed, result.complaint) }
    }

    private static let noConnection = HostError(.unavailable, "there is no shared SSH connection")

    /// ssh tells only that it failed, so the host's end is looked at.
    private func reason(of forward: ConnectionForward, _ result: Tool.Result) -> String {
        guard !forward.isReverse, forward.hostSocket == nil else { return result.complaint }
        let port = forward.host.split(separator: ":").last.flatMap { Int($0) } ?? 0
        return port < 1024 && HostProcess.uid != 0
            ? "ssh could not listen there; ports below 1024 may need a permission (sysctl net.ipv4.ip_unprivileged_port_start)"
            : "ssh could not listen there; another program may have the port (ss -ltnp shows it)"
    }

    // MARK: Sockets of the host

    /// A socket that nobody answers on is what a master left that was killed. Anything else is not ours to remove.
    private func makeRoom(for path: String) throws {
        let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        try Files.makeDirectory(parent)
        try removeStale(path)
        guard Files.kind(path) == nil else {
            throw HostError(.unavailable, "\(path) exists already; it is not a socket, or a program answers on it")
        }
    }

    private func removeSocket(of forward: ConnectionForward) throws {
        if let path = forward.hostSocket, !forward.isReverse { try removeStale(path) }
    }

    private func removeStale(_ path: String) throws {
        guard Files.kind(path) == .socket else { return }
        do throws(SystemCallError) {
            let connection = try UnixSocket.connect(path: path)
            let master = state.withLock { $0.master }
            // A master that is about to end still answers.
            if let master, UnixSocket.peer(of: connection.number)?.pid == master { try Files.remove(path) }
        } catch {
            if error.isRefusal { try Files.remove(path) }
        }
    }
}
