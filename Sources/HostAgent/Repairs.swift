import HostModel
import HostOS
import InstanceStore

/// Restores files that a running agent and its guest need, when they are removed from the instance's directory. Without
/// its socket an agent cannot be reached, and without the lock a second agent could start.
struct Repairs: Sendable {
    let directory: InstanceDirectory
    let reception: Reception
    let host: APIHost
    let restoreSockets: @Sendable () -> Bool

    /// The pause before repairs. Removing a whole directory removes its files one by one, and nothing must be restored
    /// in between.
    private static let patience = Duration.milliseconds(200)

    /// Watches the directory until the task is cancelled or the claim is lost.
    func run(_ watch: DirectoryWatch) async {
        for await _ in watch.changes {
            guard (try? await Task.sleep(for: Self.patience)) != nil else { return }
            // A directory at the lock's path would prevent the lock from being restored.
            var done = reception.supervisor.holdsDirectory ? directory.clearWay() : []
            var claim = reception.supervisor.renewClaim()
            while claim == .notYet {
                guard (try? await Task.sleep(for: Self.patience)) != nil else { return }
                if reception.supervisor.holdsDirectory { done += directory.clearWay() }
                claim = reception.supervisor.renewClaim()
            }
            // The path leads to another directory or to none, so nothing is written there.
            if claim == .gone { return }
            // A machine that ends removes its own sockets, so they are not restored without a guest.
            guard isInstance, reception.log.snapshot.phase.hasGuest else { continue }
            done += await putBack()
            for sentence in done { reception.log.emit(.warning(sentence)) }
        }
    }

    private var isInstance: Bool { Files.kind(directory.limaYAML) != nil }

    /// - Returns: one sentence for each repair.
    private func putBack() async -> [String] {
        var done: [String] = []
        if restoreSockets() { done.append("a socket of the guest's machine was removed; it is there again") }
        func back(_ file: String) -> String { "\(file) was removed; it is there again" }
        // The log's own queue writes the file, which may not have happened yet.
        if reception.log.restore() { done.append("\(directory.eventLog) was removed; it is being written again") }
        if reception.supervisor.restoreSSHConfiguration() { done.append(back(directory.sshConfiguration)) }
        if await reception.supervisor.restoreRecords() { done.append(back(directory.guestRecord)) }
        if Files.kind(directory.agentPID) == nil, (try? directory.writeAgentPID()) != nil {
            done.append(back(directory.agentPID))
        }
        do {
            if try await host.restore() { done.append("the socket \(back(directory.agentSocket))") }
        } catch {
            done.append("\(error)")
        }
        return done
    }
}
