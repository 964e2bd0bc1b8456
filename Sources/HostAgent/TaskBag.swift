import Synchronization

/// The tasks of one owner. The owner starts them one by one, and finally cancels all and waits for them, so that none
/// outlives it. A task that has ended is removed.
package final class TaskBag: Sendable {
    private struct State {
        var tasks: [Int: Task<Void, Never>] = [:]
        var next = 0
        var isClosed = false
    }

    private let state = Mutex(State())

    package init() {}

    /// Starts a task. If the bag is closed, the task is cancelled at once.
    @discardableResult
    package func start(
        on executor: (any TaskExecutor)? = nil, _ work: @escaping @Sendable () async -> Void
    ) -> Task<Void, Never> {
        state.withLock { state in
            let number = state.next
            state.next += 1
            let task = Task(executorPreference: executor) { [self] in
                await work()
                self.state.withLock { $0.tasks[number] = nil }
            }
            state.tasks[number] = task
            if state.isClosed { task.cancel() }
            return task
        }
    }

    /// Cancels all tasks and waits until they have ended.
    package func close() async {
        while true {
            let tasks = state.withLock { state in
                state.isClosed = true
                return Array(state.tasks.values)
            }
            if tasks.isEmpty { return }
            for task in tasks { task.cancel() }
            for task in tasks { await task.value }
        }
    }
}
