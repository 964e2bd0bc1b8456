import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

struct Start: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Starts an instance and waits until its guest is ready.")

    @OptionGroup var instance: InstanceArgument

    @Flag(help: "Run the agent in this process, until its guest ends.")
    var foreground = false

    @Flag(help: "Show events even when standard output is not a terminal (then as JSON lines).")
    var progress = false

    @Option(help: ArgumentHelp("Give up when the guest is not ready after this time.", valueName: "seconds"))
    var timeout: Int?

    func validate() throws {
        if let timeout, !(1...86_400).contains(timeout) {
            throw ValidationError("--timeout must be 1 to 86400 seconds, not \(timeout)")
        }
    }

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let context = OperationContext.current
        do {
            let directory = try context.directory(instance.name)
            let owner = try OwnerBoundary(instance.name, context)
            if let owner, foreground { throw owner.refuse("run an agent", "start --foreground \(directory.name)") }
            if output.dryRun, let owner {
                StandardStreams.output(try await owner.perform(["start"] + output.words + [instance.name]))
            } else if output.dryRun {
                try output.show(plan: StartOperation(context: context, directory: directory).plan())
            } else if foreground {
                try directory.checkSocketPaths()
                try await beTheAgent(context, directory)
            } else {
                try await StartCommand(
                    context: context, directory: directory, timeout: timeout, progress: progress, json: output.json
                ).run(owner)
            }
        } catch let error as HostError where foreground && isLaunchds(context) {
            // launchd only tells zero from non-zero. A failure that would repeat must not look like a crash.
            StandardStreams.error("hostagent: \(error)\n")
            let outcome = Outcome.startFailed(code: error.code, reason: error.message)
            throw Exit(status: outcome.exitStatus(keepAlive: .onFailure, manager: .launchd))
        }
    }

    /// launchd itself executed this process.
    private func isLaunchds(_ context: OperationContext) -> Bool {
        guard let name = try? InstanceName(instance.name) else { return false }
        return OriginDetector.origin(of: name, facts: .current(environment: context.environment)).managerKind
            == .launchd
    }

    /// The manager itself executed this process.
    private func isManagers(_ registration: FoundRegistration, _ context: OperationContext) -> Bool {
        OriginDetector.origin(of: registration.instance, facts: .current(environment: context.environment))
            .autoStartedIdentifier != nil
    }

    private func beTheAgent(_ context: OperationContext, _ directory: InstanceDirectory) async throws {
        let instance = try Instance(directory)
        if let registration = context.registration(of: directory), !isManagers(registration, context) {
            StandardStreams.error(
                "hostagent: warning: \(registration.identifier) is registered and does not know of this agent; "
                    + "without --foreground it is asked to start the instance\n")
        }
        let console = Console(messageWhenReady: Console.readyMessage(instance))
        let wanted = progress || console.isTerminal
        var request = OperationContext.ForegroundRequest(
            instance: instance, home: try context.home(), environment: context.environment, startLimit: timeout)
        if wanted { request.sink = { record in console.show(record) } }
        let status = try await context.runAgent(request)
        console.finish()
        throw Exit(status: status)
    }
}
