import HostOS
import InstanceStore
import Synchronization

/// An agent's claim on its instance: the held lock. A lock whose file was removed keeps nobody away, so the claim is
/// looked after for as long as the agent lives.
final class InstanceClaim: Sendable {
    private let path: String
    /// A file without which the instance is none: where it is gone, the claim is, too.
    private let essence: String
    private let lock: Mutex<FileLock?>
    private let failures = Atomic(0)

    init(_ lock: consuming FileLock, of directory: InstanceDirectory) {
        path = directory.agentLock
        essence = directory.limaYAML
        self.lock = Mutex(consume lock)
    }

    /// What came of looking after a claim.
    enum Renewal: Sendable, Equatable {
        case held
        /// A command has the new file's lock for a moment, or it cannot be made just now.
        case notYet
        /// The instance is gone, or another agent holds it by now.
        case gone
    }

    /// How often in a row a claim may be `notYet`.
    private static let patience = 50

    /// Renews a claim whose file is gone.
    func renew() -> Renewal {
        lock.withLock { lock in
            guard let held = lock.take() else { return .notYet }
            if held.isStill(at: path) {
                lock = consume held
                return .held
            }
            if Files.kind(essence) != nil, let renewed = try? FileLock.acquire(path: path) {
                lock = consume renewed
                failures.store(0, ordering: .relaxed)
                return .held
            }
            // Without its own file it keeps nobody away, and is all there is until there is a new one.
            lock = consume held
            let count = failures.add(1, ordering: .relaxed).newValue
            return Files.kind(essence) == nil || count > Self.patience ? .gone : .notYet
        }
    }

    /// Lends the lock's descriptor to what replaces this program, with the reason why it did not.
    func handOver(_ become: (Int32) -> SystemCallError) -> SystemCallError {
        lock.withLock { lock in
            guard let held = lock.take() else { return SystemCallError("hand over", path, code: 9) }
            let failure = become(held.descriptorNumber)
            lock = consume held
            return failure
        }
    }

    func release() { lock.withLock { $0 = nil } }
}
