import Dispatch

/// A thread for work that a slow or hung disk can hold up. Pieces of work are done one after the other.
package struct DiskWork: Sendable {
    private let queue: DispatchQueue

    /// - Parameter name: what the work is about, as debuggers show it.
    package init(_ name: String) { queue = DispatchQueue(label: name) }

    /// Runs the work and waits for it. The caller's event loop or actor goes on meanwhile.
    package func run<Value: Sendable, Failure: Error>(
        _ work: @escaping @Sendable () throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let result = await withCheckedContinuation {
            (continuation: CheckedContinuation<Result<Value, Failure>, Never>) in
            queue.async {
                do throws(Failure) {
                    continuation.resume(returning: .success(try work()))
                } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }
}
