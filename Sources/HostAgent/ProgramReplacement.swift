import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore

/// Replaces the agent by the program that is now on disk, in the same process: the manager sees the same main process,
/// the lock stays held, and the guest is attached to as after a crash.
package struct ProgramReplacement: Sendable {
    /// The variable that hands the lock's descriptor to the new program.
    package static let lockVariable = "HOSTAGENT_INHERITED_LOCK"

    let directory: InstanceDirectory
    let finder: any GuestFinder
    let binary: String
    let arguments: [String]

    /// Seconds the program on disk gets to answer.
    private static let limit = Duration.seconds(10)

    /// Asks the program on disk who it is, and whether it could run this instance. What cannot even say that would not
    /// supervise a guest.
    /// - Returns: its version.
    /// - Throws: `HostError`; nothing has changed then.
    func check() async throws(HostError) -> String {
        if let obstacle = finder.obstacle { throw obstacle }
        let version = try await ask(["--version"])
        let words = version.output.split(whereSeparator: \.isWhitespace)
        guard version.succeeded, words.count == 2, words[0] == "hostagent" else {
            throw HostError(
                .unavailable, "\(binary) is no working hostagent: \(version.complaint)",
                hint: "put the new version there, then try again; the agent that runs is not touched")
        }
        let check = try await ask(["check", directory.name.text])
        guard check.succeeded else {
            throw HostError(
                .badConfiguration, "hostagent \(words[1]) could not run \"\(directory.name)\": \(check.error.trimmed)",
                hint: "the agent that runs is not touched")
        }
        return String(words[1])
    }

    private func ask(_ arguments: [String]) async throws(HostError) -> Tool.Result {
        let tool = Tool(binary, arguments)
        let complaint: String
        do {
            if let answer = try await withTimeLimit(Self.limit, { try await tool.run() }) { return answer }
            complaint = "it does not answer within \(Self.limit)"
        } catch {
            complaint = (error as? HostError)?.message ?? "\(error)"
        }
        throw HostError(
            .unavailable, "\(binary) is no working hostagent: \(complaint)",
            hint: "put the new version there, then try again; the agent that runs is not touched")
    }

    /// Executes the new program in the place of this one.
    /// - Parameter isRefused: asked last, when no signal can come in between any more.
    /// - Returns: only when that failed, with the reason; the agent goes on then.
    func perform(_ claim: InstanceClaim, unless isRefused: () -> Bool) -> HostError {
        guard claim.renew() == .held else {
            return HostError(.held, "the lock of \"\(directory.name)\" is not held just now", hint: "try again")
        }
        if let obstacle = finder.obstacle { return obstacle }
        let failure = claim.handOver { descriptor in
            HostProcess.replace(
                by: binary, arguments, keeping: descriptor, variable: Self.lockVariable,
                blocking: HostProcess.stopSignals, unless: isRefused)
        }
        return HostError(.unavailable, "cannot execute \(binary): \(failure)")
    }
}
