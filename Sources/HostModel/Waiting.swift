/// Growing waits between retries, for conditions that no event reports. The first waits are short, so an early success
/// is noticed early. The waits are bounded, so a late success is noticed soon as well.
package struct Backoff: Sendable {
    private var next: Duration
    private let limit: Duration
    private let factor: Double

    package init(from first: Duration, to limit: Duration, factor: Double = 2) {
        next = first
        self.limit = limit
        self.factor = factor
    }

    /// Waits, then makes the next wait longer.
    /// - Throws: `CancellationError`, as soon as the task is cancelled.
    package mutating func pause() async throws {
        try await Task.sleep(for: next)
        next = min(next * factor, limit)
    }
}

/// Runs cancellable work for a limited time.
/// - Returns: nil when the time limit passed first. The work has then been cancelled and has ended.
/// - Throws: what the work throws.
package func withTimeLimit<Value: Sendable>(
    _ limit: Duration, _ work: @escaping @Sendable () async throws -> Value
) async throws -> Value? {
    try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask { try await work() }
        group.addTask {
            try await Task.sleep(for: limit)
            return nil
        }
        defer { group.cancelAll() }
        return try await group.next() ?? nil
    }
}
