import HostModel
import HostOS

/// launchctl(1), run as this account.
package struct Launchctl: Sendable {
    /// launchctl ended with a status that is not success.
    package struct Refusal: Error {
        let line: [String]
        let result: Tool.Result

        package init(line: [String], result: Tool.Result) {
            self.line = line
            self.result = result
        }

        var code: LaunchdCode? { LaunchdCode(rawValue: result.status) }

        /// Whether the job may be in another state soon: launchd gives these codes for a job that is being ended, or is
        /// loaded.
        package var isOfBusyJob: Bool {
            switch code {
            case .inputOutput, .inProgress, .loaded: true
            default: false
            }
        }

        /// Whether launchd does not know the job.
        var isOfUnknownJob: Bool { code == .notLoaded || code == .unknownService }

        /// The refusal as a sentence, with what to do.
        package var error: HostError {
            let text = "launchctl \(line.joined(separator: " "))"
            guard let code else {
                // The first line says what happened. The last one advises to try again as root.
                let first = result.error.split(separator: "\n").first.map { String($0).trimmed }
                return HostError(
                    .failed, "\(text): \(first ?? result.complaint)",
                    hint: result.status > 0 ? "launchctl error \(result.status) describes the code" : nil)
            }
            return HostError(
                code == .notPermitted ? .notPermitted : .failed, "\(text): \(code.meaning)",
                hint: code == .notPermitted && !text.contains(" system") ? nil : code.hint(for: text))
        }
    }

    /// - Throws: `Refusal`, or `HostError` if there is no launchctl.
    func run(_ line: [String], accepting accepted: Set<LaunchdCode> = []) async throws {
        let result = try await Tool("launchctl", line).run()
        if result.succeeded { return }
        let refusal = Refusal(line: line, result: result)
        guard let code = refusal.code, accepted.contains(code) else { throw refusal }
    }

    /// The output of `launchctl print` for a target; nil if launchd does not know it.
    func printed(_ target: String) async throws -> LaunchdPrint? {
        let result = try await Tool("launchctl", ["print", target]).run()
        if result.succeeded { return LaunchdPrint(result.output) }
        let refusal = Refusal(line: ["print", target], result: result)
        let unknown: Set<LaunchdCode> = [.notLoaded, .unknownService, .noSuchDomain, .noDomainSupport]
        if let code = refusal.code, unknown.contains(code) { return nil }
        throw refusal.error
    }

    /// `bootout` returns before the job is gone, so this waits until launchd no longer knows the job.
    /// - Parameter seconds: what launchd gives the job to end.
    func awaitGone(_ target: String, within seconds: Int) async throws {
        var backoff = Backoff(from: .milliseconds(50), to: .seconds(1), factor: 1.5)
        let deadline = ContinuousClock.now + .seconds(seconds + 10)
        while try await printed(target) != nil {
            guard ContinuousClock.now < deadline else {
                throw HostError(
                    .failed, "launchd still has \(target), \(seconds + 10) s after it was told to let it go",
                    hint: "launchctl print \(target) says what it is doing")
            }
            try await backoff.pause()
        }
    }

    /// Tells launchd to let go of a job. It returns before the job is gone. A job that is gone or is being ended already
    /// needs nothing more.
    func beginBootOut(_ target: String) async throws {
        do {
            try await run(["bootout", target], accepting: [.inProgress, .notLoaded, .unknownService])
        } catch let refusal as Refusal {
            guard refusal.isOfBusyJob, try await isLettingGo(of: target) else { throw refusal.error }
        }
    }

    /// Whether a job is being ended, or is not loaded.
    func isLettingGo(of target: String) async throws -> Bool { try await printed(target)?.isDraining ?? true }

    /// Lets go of a job, and waits until it is gone.
    func bootOut(_ target: String, within seconds: Int) async throws {
        try await beginBootOut(target)
        try await awaitGone(target, within: seconds)
    }
}
