import AgentAPI
import HostModel
import HostOS
import InstanceStore
import ServiceManagement

/// A start of a registered instance: the manager's to carry out. Its agent's events are followed all the same.
struct ManagedStart: Sendable {
    let operation: StartOperation
    let registration: FoundRegistration
    /// The manager was told already.
    let isBeingStarted: Bool

    private var context: OperationContext { operation.context }
    private var directory: InstanceDirectory { operation.directory }
    /// The manager's answer to the start tells when the guest is ready.
    private var answersWhenReady: Bool { context.manager.announcesReadiness && !isBeingStarted }

    private enum News: Sendable {
        case managerIsDone, followedToReady, timeIsUp, nothing
        case late(HostError)
    }

    /// The manager says that the start failed.
    private struct ManagerFailed: Error {
        let reason: String
    }

    /// The agent gave up, with its own reason.
    private struct GaveUp: Error {
        let reason: String
        let status: Int32
    }

    func run() async throws {
        // A start by hand begins a new count of failures.
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

    /// - Throws: what ended it before the guest was ready.
    private func followToReady() async throws {
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
            if !answersWhenReady { group.addTask { try await watchForTheEnd() } }
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
                    // The event that reports it follows in a moment. It is not waited for longer than a second.
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

    private static func afterASecond() async -> News {
        try? await Task.sleep(for: .seconds(1))
        return .timeIsUp
    }

    /// Where the manager's answer tells nothing, it is asked from time to time whether its agent still lives: one that
    /// cannot even begin says nothing that could be followed.
    private func watchForTheEnd() async throws -> News {
        var hasBegun = false
        let began = ContinuousClock.now
        while true {
            try await Task.sleep(for: .milliseconds(300))
            guard let status = try await context.manager.status([registration]).first else { continue }
            switch status.activity {
            case .starting, .active, .stopping: hasBegun = true
            case .waiting where status.lastFailure == nil: continue
            case .inactive where !hasBegun && ContinuousClock.now - began < .seconds(5): continue
            case .waiting, .inactive, .failed:
                throw ManagerFailed(reason: status.lastFailure ?? "its agent ended")
            }
        }
    }

    /// Shows the events of the agent that the manager starts, from its first on, until the guest is ready.
    /// - Throws: `GaveUp` when that agent does.
    private func follow() async throws -> Bool {
        let client = AgentClient(socket: directory.agentSocket)
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        while !Task.isCancelled {
            // No event tells when a socket appears.
            if (try? await client.info()) == nil {
                guard (try? await backoff.pause()) != nil else { return false }
                continue
            }
            var ending = StartOperation.Ending.silence
            try? await client.events { record in
                ending = StartOperation.ending(after: record, ending)
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

    /// A start that the manager tried and that failed: the manager's result, and the last that was said.
    private func explanation(_ reason: String, status: HostExitStatus?) async -> HostError {
        let known = (try? await context.manager.status([registration]))?.first
        // The agent's own reason comes first, then its standard error, for an agent that could not begin its log.
        let failure = await InstanceSurvey(context: context).states([directory]).first?.failure
        let said = (failure.map { [$0] } ?? []) + (await context.manager.lastWords(of: registration))
        let result = known?.lastFailure ?? reason
        // An agent of launchd's ends with success where it is not to be started again.
        let own = status == .success ? nil : status
        return HostError(
            .failed, "\"\(directory.name)\" did not start: \(registration.identifier): \(result)",
            hint: said.isEmpty ? nil : said.joined(separator: "\n  "),
            status: own ?? known?.exitStatus.flatMap(HostExitStatus.init(rawValue:)) ?? .failure)
    }
}
