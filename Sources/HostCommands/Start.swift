import AgentAPI
import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration
import ServiceManagers

struct Start: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Starts an instance and waits until its guest is ready; makes it first if it is given as a template.")

    @Argument(
        help: "The instance's name; or a template, a file or an address to make it from. Default: default.",
        completion: .instanceNames)
    var source: String?

    @Option(help: "The name of an instance that is made from a template; default: that of the template or file.")
    var name: String?

    @OptionGroup var flags: TemplateFlags
    @OptionGroup var creation: CreationFlags

    @Flag(help: "Run the agent in this process, until its guest ends.")
    var foreground = false

    @Flag(help: "Show events even when standard output is not a terminal (then as JSON lines).")
    var progress = false

    @Option(
        help: ArgumentHelp(
            "Give up when the guest is not ready after this time: seconds, or as 10m or 1h30m.", valueName: "time"),
        transform: { text in
            guard let seconds = Seconds.parse(text), 1...86_400 ~= seconds else {
                throw ValidationError("--timeout takes 1 second to 24 hours, such as 600 or 10m, not \(text)")
            }
            return seconds
        })
    var timeout: Int?

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let context = OperationContext.current
        let source = try source ?? (foreground ? nil : StartMenu(context)?.choose())
        try await start(source ?? "default", isTemplate: source.map { isTemplate($0, context) } ?? false, context)
    }

    private func start(_ source: String, isTemplate: Bool, _ context: OperationContext) async throws {
        if output.dryRun, isTemplate {
            let command = CreateCommand(context: context, source: source, name: name, flags: flags, creation: creation)
            return try output.show(plan: await command.plan())
        }
        let instance = isTemplate ? try await created(source, context) : try existing(source)
        do {
            let directory = try context.directory(instance)
            let owner = try OwnerBoundary(instance, context)
            if let owner, foreground { throw owner.refuse("run an agent", "start --foreground \(directory.name)") }
            if output.dryRun, let owner {
                StandardStreams.output(try await owner.perform(["start"] + output.words + [instance]))
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
        } catch let error as HostError where foreground && isLaunchds(instance, context) {
            // launchd only tells zero from non-zero. A failure that would repeat must not look like a crash.
            StandardStreams.error("hostagent: \(error)\n")
            let outcome = Outcome.startFailed(code: error.code, reason: error.message)
            throw Exit(status: outcome.exitStatus(keepAlive: .onFailure, manager: .launchd))
        }
    }

    /// Whether the source is not an instance that exists, but something to make one from.
    private func isTemplate(_ source: String, _ context: OperationContext) -> Bool {
        guard !foreground, let home = try? context.home() else { return false }
        if let name = try? InstanceName(source), Files.kind(home.directory(of: name).path) != nil { return false }
        return source == "-" || InstanceTemplate.names.contains(source)
            || [".yaml", ".yml"].contains { source.hasSuffix($0) } || TemplateArgument.isLocator(source)
            || source.contains("/") && Files.kind(source) == .regular
    }

    private func existing(_ source: String) throws(HostError) -> String {
        guard name == nil, (flags.words + creation.words).isEmpty else {
            throw HostError(
                .usage,
                "\(InstanceName.quoted(source)) is an instance, so --name and flags of templates do not apply",
                hint: "hostagent edit \(source) changes it")
        }
        return source
    }

    /// Makes the instance first.
    /// - Returns: its name.
    private func created(_ source: String, _ context: OperationContext) async throws -> String {
        let command = CreateCommand(context: context, source: source, name: name, flags: flags, creation: creation)
        if let owner = try OwnerBoundary(nil, context) {
            let text = try await command.run(as: owner, ["--json"])
            return try JSONDecoder().decode(CreateResult.self, from: Data(text.utf8)).name
        }
        let created = try await command.run()
        StandardStreams.error("created \(created.name)\n")
        return created.name
    }

    /// launchd itself executed this process.
    private func isLaunchds(_ instance: String, _ context: OperationContext) -> Bool {
        guard let name = try? InstanceName(instance) else { return false }
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
        request.sink = { record in
            if wanted { return console.show(record) }
            // A failure is said in any case.
            if case .exiting = record.event, record.phase == .failed, let reason = record.status.errors?.last {
                StandardStreams.error("hostagent: \"\(instance.name)\" has ended: \(DisplayText.cleaned(reason))\n")
            }
            return true
        }
        let status = try await context.runAgent(request)
        console.finish()
        throw Exit(status: status)
    }
}
