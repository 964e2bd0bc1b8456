import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceStore

struct Shell: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Opens a shell in an instance's guest, or runs a command there.")

    @Argument(help: "The instance's name.")
    var name: String

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() async throws {
        let context = CommandContext.current
        if name == "--help" || name == "-h" { throw CleanExit.helpRequest(self) }
        let directory = try context.directory(name)
        guard try directory.isHeld() else {
            throw HostError(
                .unavailable, "the instance \"\(name)\" is not running",
                hint: "start it with: hostagent start \(name)")
        }
        let info = try await AgentClient(socket: directory.agentSocket).info()
        guard info.phase.isUsable else {
            throw HostError(
                .unavailable, "the instance \"\(name)\" is \(info.phase.rawValue), not running",
                hint: "hostagent start \(name) waits until it is ready")
        }
        guard let ssh = Tool.path(of: "ssh", in: context.environment["PATH"]) else {
            throw HostError(.unavailable, "ssh is not in PATH", hint: "apt-get install openssh-client")
        }
        // ssh joins its arguments with spaces and the guest's shell splits them again: quoted, they arrive as given.
        let words = command.first == "--" ? Array(command.dropFirst()) : command
        let remote = words.map { word in
            let plain =
                !word.isEmpty
                && word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,%".contains($0)) }
            return plain ? word : "'" + word.replacing("'", with: #"'\''"#) + "'"
        }
        let failure = HostProcess.become(
            ssh,
            ["-F", directory.sshConfiguration] + (words.isEmpty ? ["-t"] : []) + ["lima-\(name)"]
                + (words.isEmpty ? [] : ["--"] + remote))
        throw HostError(.unavailable, "cannot run ssh: \(failure.reason)")
    }
}
