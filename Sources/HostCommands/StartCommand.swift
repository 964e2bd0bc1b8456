import HostModel
import HostOS
import InstanceOperations
import InstanceStore

/// A start as the command line shows it: of `start` itself, and of the commands that end with one.
struct StartCommand {
    var context: OperationContext
    let directory: InstanceDirectory
    var timeout: Int?
    /// Show events also where standard output is no terminal.
    var progress = false
    /// Nothing goes to standard output, which belongs to what comes after the start.
    var quiet = false
    var json = false
    /// The manager was told already, and is only followed.
    var isBeingStarted = false

    /// - Parameter owner: who does it, where root works in another account's directory.
    func run(_ owner: OwnerBoundary? = nil) async throws {
        if let owner {
            try show(try await owner.start(directory.name, timeout: timeout))
            return
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
        if quiet { return }
        if json || result.outcome == .alreadyRunning { try show(result) } else { console.announceReady() }
    }

    private func show(_ result: StartResult) throws {
        let already = result.outcome == .alreadyRunning ? " already" : ""
        StandardStreams.output(json ? try JSONText.line(result) : "\(result.name) is running\(already)\n")
    }
}
