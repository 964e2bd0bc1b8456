import HostOS
import InstanceStore
import Synchronization

/// An agent's claim on its instance: the lock that it holds in its original directory. A lock whose file was removed no
/// longer keeps other agents away, so the claim is checked as long as the agent lives.
package final class InstanceClaim: Sendable {
    let directory: InstanceDirectory
    /// The identity of the original directory. Its path may lead elsewhere by now.
    private let identity: FileIdentity?
    private let lock: Mutex<FileLock?>
    private let failures = Atomic(0)

    package init(_ lock: consuming FileLock, of directory: InstanceDirectory) {
        self.directory = directory
        identity = Files.identity(directory.path)
        self.lock = Mutex(consume lock)
    }

    /// The result of renewing a claim.
    package enum Renewal: Sendable, Equatable {
        case held
        /// A command briefly holds the lock of the new file, or the file cannot be created at the moment.
        case notYet
        /// The instance is gone, or another agent holds it.
        case gone
    }

    /// The number of failed renewals in a row that are tolerated.
    private static let patience = 50

    /// Whether the path still leads to the agent's original directory, and that is still an instance.
    package var isInPlace: Bool {
        // Programs that write a file anew may remove it for a moment. A removed directory loses its disk, too.
        Files.identity(directory.path) == identity
            && (Files.kind(directory.limaYAML) != nil || Files.kind(directory.disk) != nil)
    }

    /// Whether the lock is held and its file is still in the agent's original directory. Renews nothing.
    package var isIntact: Bool {
        lock.withLock { lock in
            guard let held = lock.take() else { return false }
            let isIntact = isInPlace && held.isStill(at: directory.agentLock)
            lock = consume held
            return isIntact
        }
    }

    /// Checks the claim, and locks a new file if the lock's file is gone.
    package func renew() -> Renewal {
        lock.withLock { lock in
            guard let held = lock.take() else { return .notYet }
            if isInPlace, held.isStill(at: directory.agentLock) {
                lock = consume held
                failures.store(0, ordering: .relaxed)
                return .held
            }
            if isInPlace, let renewed = try? FileLock.acquire(path: directory.agentLock) {
                lock = consume renewed
                failures.store(0, ordering: .relaxed)
                return .held
            }
            // A lock whose file is gone keeps nobody away, but it is kept until there is a new one.
            lock = consume held
            let count = failures.add(1, ordering: .relaxed).newValue
            return !isInPlace || count > Self.patience ? .gone : .notYet
        }
    }

    /// Passes the lock's descriptor to `replace`, which only returns if it could not replace this program.
    func handOver(_ replace: (Int32) -> SystemCallError) -> SystemCallError {
        lock.withLock { lock in
            guard let held = lock.take() else { return SystemCallError("hand over", directory.agentLock, code: 9) }
            let failure = replace(held.descriptorNumber)
            lock = consume held
            return failure
        }
    }

    package func release() { lock.withLock { $0 = nil } }
}
