/// Waits between tries that grow: for what no event tells about. Short at first, so that what comes soon is seen soon;
/// bounded, so that what comes late is not seen much later.
package struct Backoff: Sendable {
    private var next: Duration
    private let limit: Duration
    private let factor: Double

    package init(from first: Duration, to limit: Duration, factor: Double = 2) {
        next = first
        self.limit = limit
        self.factor = factor
    }

    /// Waits, and makes the next wait longer.
    /// - Throws: `CancellationError`, at once.
    package mutating func pause() async throws {
        try await Task.sleep(for: next)
        next = min(next * factor, limit)
    }
}

/// Runs work that can be cancelled, for a limited time.
/// - Returns: nil when the time was over first; the work has been cancelled and has ended then.
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
