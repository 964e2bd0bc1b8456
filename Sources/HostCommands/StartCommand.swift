import HostModel
import HostOS
import InstanceOperations
import InstanceStore

/// Shows a start on the command line, for `start` and for other commands that end with a start.
struct StartCommand {
    var context: OperationContext
    let directory: InstanceDirectory
    var timeout: Int?
    /// Show events even when standard output is not a terminal.
    var progress = false
    /// Print nothing on standard output, because the command that follows the start uses it.
    var quiet = false
    var json = false
    /// The manager was already told to start; the start is only followed.
    var isBeingStarted = false

    /// - Parameter owner: the boundary to the owner, when root works in another account's directory.
    func run(_ owner: OwnerBoundary? = nil) async throws {
        if let owner {
            let result = try await owner.start(directory.name, timeout: timeout)
            warn(of: result)
            return try show(result)
        }
        try directory.checkSocketPaths()
        context.sweep(directory)
        let console = Console(
            messageWhenReady: Console.readyMessage(try Instance(directory)), quiet: !progress || quiet || json)
        defer { console.finish() }
        var context = context
        context.progress = console.progress
        let operation = StartOperation(
            context: context, directory: directory, timeout: timeout, follows: console.shows)
        let result = try await operation.run(isBeingStarted: isBeingStarted)
        console.finish()
        warn(of: result)
        if quiet { return }
        if json || result.outcome == .alreadyRunning { try show(result) } else { console.announceReady() }
    }

    /// Says what is wrong with a guest that can be used all the same.
    private func warn(of result: StartResult) {
        for error in result.errors ?? [] where !json {
            StandardStreams.error("hostagent: warning: \(result.name) is degraded: \(DisplayText.cleaned(error))\n")
        }
    }

    private func show(_ result: StartResult) throws {
        let already = result.outcome == .alreadyRunning ? " already" : ""
        StandardStreams.output(json ? try JSONText.line(result) : "\(result.name) is running\(already)\n")
    }
}
