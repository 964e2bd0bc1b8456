import HostModel
import HostOS
import Logging
import ServiceLifecycle
import Synchronization

/// Runs the API server on the agent's socket, and restores the socket if its file is removed.
final class APIHost: Sendable {
    private struct Running {
        let group: ServiceGroup
        let task: Task<Void, Never>
    }

    private let socket: String
    private let handlers: APIServer.AgentHandlers
    private let bag = TaskBag()
    private let running = Mutex<Running?>(nil)

    init(socket: String, handlers: APIServer.AgentHandlers) {
        self.socket = socket
        self.handlers = handlers
    }

    private var hiddenName: HiddenSocketName { HiddenSocketName(of: socket) }

    /// Binds the socket. Returns once clients can connect.
    /// - Throws: `HostError` with `.cannotCreate`.
    func start() async throws {
        let (bound, continuation) = AsyncStream.makeStream(of: Void.self)
        let failure = Mutex<String?>("the server ended at once")
        let server: APIServer
        do {
            server = try APIServer(socket: socket, handlers: handlers) { [hiddenName] in
                hiddenName.keep()
                failure.withLock { $0 = nil }
                continuation.finish()
            }
        } catch {
            throw cannotListen("\(error)")
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server)], logger: Logger(label: "agent") { _ in SwiftLogNoOpLogHandler() }))
        let task = bag.start {
            do {
                try await group.run()
            } catch {
                failure.withLock { if $0 != nil { $0 = "\(error)" } }
            }
            continuation.finish()
        }
        running.withLock { $0 = Running(group: group, task: task) }
        for await _ in bound {}
        if let reason = failure.withLock({ $0 }) { throw cannotListen(reason) }
    }

    private func cannotListen(_ reason: String) -> HostError {
        HostError(.cannotCreate, "cannot listen on \(socket): \(reason)")
    }

    /// Makes the socket reachable again if its file was removed or replaced. Its second name restores it without losing
    /// connections. If both names are gone, a new server replaces the old one.
    /// - Returns: true if the socket was not reachable.
    func restore() async throws -> Bool {
        if hiddenName.restore() { return true }
        guard Files.kind(socket) == nil else { return false }
        // Nobody can reach the old listener any more, so end it.
        let old = running.withLock { $0 }?.task
        old?.cancel()
        // Wait for its end, because it removes the socket's name.
        await old?.value
        try await start()
        return true
    }

    /// Shuts the server down after it has finished the current answers.
    func shutDown() async {
        hiddenName.remove()
        try? Files.remove(socket)
        await running.withLock { $0 }?.group.triggerGracefulShutdown()
        await bag.close()
    }
}
