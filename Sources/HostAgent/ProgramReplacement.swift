import AgentAPI
import GuestDriver
import HostModel
import HostOS
import InstanceStore

/// Replaces the agent by the program that is now on disk, in the same process. The manager still sees the same main
/// process, the lock stays held, and the new program attaches to the guest as after a crash.
package struct ProgramReplacement: Sendable {
    /// The environment variable that passes the lock's descriptor to the new program.
    package static let lockVariable = "HOSTAGENT_INHERITED_LOCK"

    let directory: InstanceDirectory
    let finder: any GuestFinder
    let binary: String
    let arguments: [String]

    /// The time that the program on disk has to answer.
    private static let limit = Duration.seconds(10)

    /// Asks the program on disk for its version, and whether it could run this instance. A program that cannot answer
    /// could not supervise a guest either.
    /// - Returns: its version.
    /// - Throws: `HostError`. Nothing has changed then.
    func check() async throws(HostError) -> String {
        if let obstacle = finder.obstacle { throw obstacle }
        let version = try await ask(["--version"])
        let words = version.output.split { $0.isWhitespace || $0 == "," }
        guard version.succeeded, words.count >= 2, words[0] == "hostagent" else {
            throw HostError(
                .unavailable, "\(binary) is not a working hostagent: \(version.complaint)",
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
            .unavailable, "\(binary) is not a working hostagent: \(complaint)",
            hint: "put the new version there, then try again; the agent that runs is not touched")
    }

    /// Replaces this program by the new one with `exec`.
    /// - Parameter isRefused: called last, when no signal can arrive any more.
    /// - Returns: only if that failed, with the reason. The agent then continues.
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
