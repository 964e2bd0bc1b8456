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

    @Option(help: ArgumentHelp("The directory in the guest to begin in.", valueName: "directory"))
    var workdir: String?

    @Option(help: ArgumentHelp("The shell to use; default: that of the guest's user.", valueName: "path"))
    var shell: String?

    @Flag(help: "Give the guest this host's variables, chosen by LIMA_SHELLENV_ALLOW and LIMA_SHELLENV_BLOCK.")
    var preserveEnv = false

    @Flag(help: "Make a connection of its own, beside the one that is shared.")
    var reconnect = false

    @Argument(help: "The instance's name.", completion: .instanceNames)
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
        let script = try script(context.environment)
        if try !directory.isHeld() { try await startFirst(directory, context) }
        try await AgentClient.requireUsable(directory)
        guard let ssh = Tool.path(of: "ssh", in: context.environment["PATH"]) else {
            throw HostError(
                .unavailable, "ssh is not in PATH", hint: HostPackages.install("openssh-client", homebrew: "openssh"))
        }
        let failure = HostProcess.replace(
            by: ssh, options(directory, context.environment) + (script.map { ["--", $0] } ?? []))
        throw HostError(.unavailable, "cannot run ssh: \(failure.reason)")
    }

    private var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    private func options(_ directory: InstanceDirectory, _ environment: [String: String]) -> [String] {
        // As in Lima, a command on a terminal gets one in the guest too, so that it can be used and resized.
        let needsTerminal = words.isEmpty || HostProcess.isTerminal(0) && HostProcess.isTerminal(1)
        return ["-F", directory.sshConfiguration] + (needsTerminal ? ["-t"] : [])
            + (reconnect ? ["-o", "ControlPath=none"] : [])
            + (environment["COLORTERM"] == nil ? [] : ["-o", "SendEnv=COLORTERM"])
            + ["lima-\(name)"]
    }

    /// The line for the guest's shell; nil for a shell without a command.
    private func script(_ environment: [String: String]) throws(HostError) -> String? {
        // ssh joins its arguments with spaces and the guest's shell splits them again. Quoting keeps them unchanged.
        let command = words.map(Self.quoted).joined(separator: " ")
        if workdir == nil, shell == nil, !preserveEnv {
            // The guest's shell gets the command as one word after -c, where a leading dash would begin an option.
            return words.isEmpty ? nil : command.hasPrefix("-") ? " " + command : command
        }
        var script = workdir.map { "cd \(Self.quoted($0)) || exit 1; " } ?? ""
        script += "exec "
        if preserveEnv {
            let variables = try ShellEnvironment(environment).chosen(from: environment)
            script += "env " + variables.map { "\($0.name)=\(ShellWord.quoted($0.value)) " }.joined()
        }
        script += shell.map(Self.quoted) ?? "\"$SHELL\""
        return script + " -l" + (words.isEmpty ? "" : " -c \(ShellWord.quoted(command))")
    }

    private static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,%".contains($0)) }
        return isPlain ? word : ShellWord.quoted(word)
    }

    /// Starts a stopped instance. Asks first when there is a terminal.
    private func startFirst(_ directory: InstanceDirectory, _ context: OperationContext) async throws {
        let canAsk = context.mayAsk && HostProcess.isTerminal(0) && HostProcess.isTerminal(2)
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
