import HostOS
import InstanceStore
import Synchronization

/// An agent's claim on its instance: the held lock, in the directory that the agent began in. A lock whose file was removed
/// keeps nobody away, so the claim is looked after for as long as the agent lives.
package final class InstanceClaim: Sendable {
    private let directory: InstanceDirectory
    /// The directory itself, whatever has its path by now.
    private let identity: FileIdentity?
    private let lock: Mutex<FileLock?>
    private let failures = Atomic(0)

    package init(_ lock: consuming FileLock, of directory: InstanceDirectory) {
        self.directory = directory
        identity = Files.identity(directory.path)
        self.lock = Mutex(consume lock)
    }

    /// What came of looking after a claim.
    package enum Renewal: Sendable, Equatable {
        case held
        /// A command has the new file's lock for a moment, or it cannot be made just now.
        case notYet
        /// The instance is gone, or another agent holds it by now.
        case gone
    }

    /// How often in a row a claim may be `notYet`.
    private static let patience = 50

    /// The path still leads to the directory in which the agent began, and it is still an instance.
    package var isInPlace: Bool {
        Files.identity(directory.path) == identity && Files.kind(directory.limaYAML) != nil
    }

    /// The lock is held, and its file is in the directory in which the agent began. Nothing is renewed.
    package var isIntact: Bool {
        lock.withLock { lock in
            guard let held = lock.take() else { return false }
            let isIntact = isInPlace && held.isStill(at: directory.agentLock)
            lock = consume held
            return isIntact
        }
    }

    /// Renews a claim whose file is gone.
    package func renew() -> Renewal {
        lock.withLock { lock in
            guard let held = lock.take() else { return .notYet }
            if isInPlace, held.isStill(at: directory.agentLock) {
                lock = consume held
                return .held
            }
            if isInPlace, let renewed = try? FileLock.acquire(path: directory.agentLock) {
                lock = consume renewed
                failures.store(0, ordering: .relaxed)
                return .held
            }
            // The old lock excludes nobody without its file. It is kept until there is a new one.
            lock = consume held
            let count = failures.add(1, ordering: .relaxed).newValue
            return !isInPlace || count > Self.patience ? .gone : .notYet
        }
    }

    /// Lends the lock's descriptor to what replaces this program, with the reason why it did not.
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
