import ArgumentParser
import HostModel
import HostOS

struct Completion: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints a script that completes commands, options and names of instances in a shell.",
        discussion: """
            bash: source <(hostagent completion bash); zsh: hostagent completion zsh > a file _hostagent in $fpath; \\
            fish: hostagent completion fish | source.
            """)

    @Argument(help: "bash, zsh or fish.")
    var shell: String

    func run() throws {
        guard let known = CompletionShell(rawValue: shell) else {
            throw HostError(
                .usage, "there is no completion for \(InstanceName.quoted(shell)), only for bash, zsh and fish")
        }
        StandardStreams.output(HostAgentCommand.completionScript(for: known) + "\n")
    }
}

extension CompletionKind {
    /// The names of instances.
    static var instanceNames: CompletionKind { .shellCommand("hostagent list --quiet 2> /dev/null") }
}
