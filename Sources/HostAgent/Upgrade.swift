import AgentAPI
import HostModel
import HostOS
import InstanceStore

/// Replaces the agent by the program that is now on disk, in the same process: the manager sees the same main process,
/// the lock stays held, and the guest is attached to as after a crash.
package struct Upgrade: Sendable {
    /// The variable that hands the lock's descriptor to the new program.
    package static let lockVariable = "HOSTAGENT_INHERITED_LOCK"

    let directory: InstanceDirectory
    let binary: String
    let arguments: [String]

    /// Asks the program on disk who it is. What cannot even say that would not supervise a guest.
    /// - Returns: its version.
    /// - Throws: `HostError`; nothing has changed then.
    func check() async throws(HostError) -> String {
        let complaint: String
        do {
            let result = try await Tool(binary, ["--version"]).run()
            let words = result.output.split(whereSeparator: \.isWhitespace)
            if result.succeeded, words.count == 2, words[0] == "hostagent" { return String(words[1]) }
            complaint = result.complaint
        } catch {
            complaint = (error as? HostError)?.message ?? "\(error)"
        }
        throw HostError(
            .unavailable, "\(binary) is no working hostagent: \(complaint)",
            hint: "put the new version there, then try again; the agent that runs is not touched")
    }

    /// Becomes the new program.
    /// - Returns: only when that failed, with the reason; the agent goes on then.
    func perform(_ claim: InstanceClaim) -> HostError {
        let failure = claim.handOver { descriptor in
            HostProcess.become(
                binary, arguments, keeping: descriptor, variable: Self.lockVariable,
                blocking: HostProcess.stopSignals)
        }
        return HostError(.unavailable, "cannot become \(binary): \(failure)")
    }
}
