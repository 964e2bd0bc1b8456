import AgentAPI
import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// A start of a registered instance. The manager carries it out, and the events of its agent are followed.
struct ManagedStart: Sendable {
    let operation: StartOperation
    let registration: FoundRegistration
    /// The manager was already told to start the instance.
    let isBeingStarted: Bool

    private var context: OperationContext { operation.context }
    private var directory: InstanceDirectory { operation.directory }
    /// The manager's answer to the start means that the guest is ready.
    private var answersWhenReady: Bool { context.manager.announcesReadiness && !isBeingStarted }

    private enum News: Sendable {
        case managerIsDone, followedToReady, timeIsUp, nothing
        case late(HostError)
    }

    /// The manager reports that the start failed.
    private struct ManagerFailed: Error {
        let reason: String
    }

    /// The agent gave up, with its own reason.
    private struct GaveUp: Error {
        let reason: String
        let status: Int32
    }

    func run() async throws {
        // A start by hand resets the count of failures.
        RestartHistory.forget(directory)
        do {
            try await followToReady()
        } catch let given as GaveUp {
            try operation.checkWhetherGuestWasGone()
            throw await explanation(given.reason, status: HostExitStatus(rawValue: given.status))
        } catch let error as ManagerFailed {
            try operation.checkWhetherGuestWasGone()
            throw await explanation(error.reason, status: nil)
        }
    }

    /// - Throws: the reason why the start ended before the guest was ready.
    private func followToReady() async throws {
        let runsBefore = answersWhenReady ? nil : try await runsUntilNow()
        let late: HostError? = try await withThrowingTaskGroup(of: News.self) { group in
            if !isBeingStarted {
                group.addTask {
                    do {
                        try await context.manager.start(registration)
                    } catch let error as HostError where error.code == .failed {
                        throw ManagerFailed(reason: error.message)
                    }
                    return .managerIsDone
                }
            }
            if isBeingStarted { group.addTask { try await watchForTheEnd(runsBefore) } }
            var isReady = false
            var isShown = answersWhenReady && !operation.follows
            if !isShown { group.addTask { try await follow() ? .followedToReady : .nothing } }
            if let timeout = operation.timeout {
                group.addTask { .late(try await operation.lateError(after: timeout)) }
            }
            defer { group.cancelAll() }
            while !(isReady && isShown), let news = try await group.next() {
                switch news {
                case .managerIsDone:
                    isReady = isReady || answersWhenReady
                    if !answersWhenReady { group.addTask { try await watchForTheEnd(runsBefore) } }
                    // The event that reports it follows shortly. The wait for it is limited to one second.
                    if isReady, !isShown { group.addTask { await Self.afterASecond() } }
                case .followedToReady: (isReady, isShown) = (true, true)
                case .timeIsUp: isShown = true
                case .late(let error): return error
                case .nothing: break
                }
            }
            return nil
        }
        if let late { throw late }
    }

    /// How often the manager has started the loaded job; nil if the job is not loaded, or about to be let go.
    private func runsUntilNow() async throws -> Int? {
        let status = try await context.manager.status([registration]).first
        return status?.activity == .stopping ? nil : status?.runs
    }

    private static func afterASecond() async -> News {
        try? await Task.sleep(for: .seconds(1))
        return .timeIsUp
    }

    /// For a manager whose answer does not report readiness. The manager is asked from time to time whether its agent
    /// still lives, because an agent that cannot begin emits no events.
    /// - Parameter runsBefore: how often the manager had started the agent before. What it reports of a run before this
    ///   start does not count. A job that is loaded anew begins at zero.
    private func watchForTheEnd(_ runsBefore: Int?) async throws -> News {
        var hasBegun = false
        let began = ContinuousClock.now
        while true {
            try await Task.sleep(for: .milliseconds(300))
            guard let status = try await context.manager.status([registration]).first else { continue }
            if let runs = status.runs, runs != runsBefore, runs > 0 { hasBegun = true }
            let waited = ContinuousClock.now - began
            switch status.activity {
            case .starting, .active, .stopping: hasBegun = true
            case .waiting where status.lastFailure == nil && waited < Self.patience: continue
            case .waiting where !hasBegun && waited < Self.patience: continue
            case .inactive where !hasBegun && waited < .seconds(5): continue
            case .failed where !hasBegun && waited < .seconds(5): continue
            case .waiting, .inactive, .failed:
                let reason =
                    hasBegun ? "its agent ended" : "its agent was not started within \(waited.components.seconds) s"
                throw ManagerFailed(reason: status.lastFailure ?? reason)
            }
        }
    }

    /// The time that a manager may take to start an agent. launchd leaves ten seconds between two starts of a job
    /// (launchd.plist(5), ThrottleInterval).
    private static let patience = Duration.seconds(45)

    /// Shows all events of the agent that the manager starts, until the guest is ready.
    /// - Throws: `GaveUp` when the agent gives up.
    private func follow() async throws -> Bool {
        let client = AgentClient(socket: directory.agentSocket)
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        while !Task.isCancelled {
            // No event reports that a socket appears.
            if (try? await client.info()) == nil {
                guard (try? await backoff.pause()) != nil else { return false }
                continue
            }
            var ending = StartOperation.Ending.silence
            try? await client.events { record in
                ending = operation.ending(after: record, ending)
                context.progress(.event(record))
                return !StartOperation.isOver(ending)
            }
            switch ending {
            case .ready: return true
            case .failed(let errors, let status): throw GaveUp(reason: errors.last ?? "its agent ended", status: status)
            case .silence: continue
            }
        }
        return false
    }

    /// The error of a start that failed in the manager: the manager's result and the agent's last message.
    private func explanation(_ reason: String, status: HostExitStatus?) async -> HostError {
        let known = (try? await context.manager.status([registration]))?.first
        // The agent's own reason comes first. An agent that could not begin its log has only its standard error.
        let failure = await InstanceSurvey(context: context).states([directory]).first?.failure
        let said = (failure.map { [$0] } ?? []) + (await context.manager.lastWords(of: registration))
        let result = known?.lastFailure ?? reason
        // Under launchd an agent ends with status 0 when it is not to be started again.
        let own = status == .success ? nil : status
        return HostError(
            .failed, "\"\(directory.name)\" did not start: \(registration.identifier): \(result)",
            hint: said.isEmpty ? nil : said.joined(separator: "\n  "),
            status: own ?? known?.exitStatus.flatMap(HostExitStatus.init(rawValue:)) ?? .failure)
    }
}
