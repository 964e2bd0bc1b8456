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

    init(_ lock: consuming FileLock, of directory: InstanceDirectory) {
        path = directory.agentLock
        essence = directory.limaYAML
        self.lock = Mutex(consume lock)
    }

    /// Renews a claim whose file is gone.
    /// - Returns: false when that cannot be: the directory is gone, or another agent holds the instance by now.
    func renew() -> Bool {
        lock.withLock { lock in
            if let held = lock.take() {
                let isStill = held.isStill(at: path)
                if isStill {
                    lock = consume held
                    return true
                }
            }
            guard Files.kind(essence) != nil, let renewed = try? FileLock.acquire(path: path) else { return false }
            lock = consume renewed
            return true
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
