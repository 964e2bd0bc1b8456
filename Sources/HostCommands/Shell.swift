import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Shell: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Opens a shell in an instance's guest, or runs a command there.")

    @Flag(help: "Start a stopped instance without asking.")
    var start = false

    @Argument(help: "The instance's name.")
    var name: String

    @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
    var command: [String] = []

    func run() async throws {
        let context = OperationContext.current
        if name == "--help" || name == "-h" { throw CleanExit.helpRequest(self) }
        let directory = try context.directory(name)
        if let owner = try OwnerBoundary(name, context) {
            throw owner.refuse("open a shell", "shell \(name)")
        }
        if try !directory.isHeld() { try await startFirst(directory, context) }
        let info = try await AgentClient(socket: directory.agentSocket).info()
        guard info.phase.isUsable else {
            throw HostError(
                .unavailable, "the instance \"\(name)\" is \(info.phase.rawValue), not running",
                hint: "hostagent start \(name) waits until it is ready")
        }
        guard let ssh = Tool.path(of: "ssh", in: context.environment["PATH"]) else {
            throw HostError(
                .unavailable, "ssh is not in PATH", hint: HostPackages.install("openssh-client", homebrew: "openssh"))
        }
        // ssh joins its arguments with spaces and the guest's shell splits them again. Quoting keeps them unchanged.
        let words = command.first == "--" ? Array(command.dropFirst()) : command
        let remote = words.map { word in
            let plain =
                !word.isEmpty
                && word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,%".contains($0)) }
            return plain ? word : ShellWord.quoted(word)
        }
        // The guest's shell gets the command as one word after -c, where a leading dash would begin an option.
        let first = remote.first.map { $0.hasPrefix("-") ? " " + $0 : $0 }
        let failure = HostProcess.replace(
            by: ssh,
            ["-F", directory.sshConfiguration] + (words.isEmpty ? ["-t"] : []) + ["lima-\(name)"]
                + (first.map { ["--", $0] + remote.dropFirst() } ?? []))
        throw HostError(.unavailable, "cannot run ssh: \(failure.reason)")
    }

    /// Starts a stopped instance. Asks first when there is a terminal.
    private func startFirst(_ directory: InstanceDirectory, _ context: OperationContext) async throws {
        let canAsk = HostProcess.isTerminal(0) && HostProcess.isTerminal(2)
        if !start, canAsk { StandardStreams.error("the instance \"\(name)\" is not running; start it? [Y/n] ") }
        guard start || canAsk, start || Self.isYes(StandardStreams.line()) else {
            throw HostError(
                .unavailable, "the instance \"\(name)\" is not running",
                hint: "start it with: hostagent start \(name), or use: hostagent shell --start \(name)")
        }
        try await StartCommand(context: context, directory: directory, quiet: true).run()
    }

    /// An empty answer means the choice in upper case.
    private static func isYes(_ answer: String?) -> Bool {
        answer.map { ["", "y", "yes"].contains($0.trimmed.lowercased()) } ?? false
    }
}
