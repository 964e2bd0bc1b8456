import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagement

struct AutostartEnable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enable", abstract: "Has the manager start an instance at login or at boot.")

    @OptionGroup var instance: InstanceArgument

    @Option(
        help: ArgumentHelp(
            "When to start it: login, or boot (before anybody logs in; needs root twice). Default: as it is "
                + "registered already, else login."))
    var condition: AutostartCondition?

    @Option(help: ArgumentHelp("Whose instance it is, for --condition=boot; default: yours.", valueName: "account"))
    var user: String?

    @Option(
        help: "When to start it again: on-failure (default), always, no; true and false are the first and the last.")
    var keepAlive: KeepAliveArgument?

    @Flag(
        help: "With --condition=boot: your own manager starts it, which then runs from boot on (linger). Needs no root."
    )
    var linger = false

    @Flag(help: "Start it now, too.")
    var now = false

    @Flag(help: "Replace a registration that hostagent did not make.")
    var takeOver = false

    @OptionGroup var output: OutputOptions

    func validate() throws {
        if user != nil, condition == .login { throw ValidationError("--user goes with --condition=boot only") }
        if linger, condition == .login { throw ValidationError("--linger goes with --condition=boot only") }
        if linger, user != nil { throw ValidationError("--linger is for your own account, not for --user") }
    }

    func run() async throws {
        let context = OperationContext.current
        let isForBoot = user != nil || linger
        let condition = try condition ?? (isForBoot ? .boot : registered(context)) ?? .login
        if output.dryRun { return try output.show(plan: plan(condition, context)) }
        let request = AutostartRequest(
            condition: condition, user: user, keepAlive: keepAlive?.policy, linger: linger, takeOver: takeOver,
            now: now)
        let result = try await request.enable(instance.name, context)
        for note in result.notes { context.progress(.note(note)) }
        try output.show(result, AutostartEnable.text(result))
        guard now, let path = result.dir else { return }
        let directory = InstanceDirectory(name: try InstanceName(result.name), path: path)
        let owner = OwnerBoundary(directory, context)
        var start = StartCommand(context: context, directory: directory)
        start.isBeingStarted = condition == .boot
        start.quiet = output.json
        try await start.run(owner)
    }

    private func plan(_ condition: AutostartCondition, _ context: OperationContext) throws -> OperationPlan {
        let name = try context.directory(instance.name).name
        let when = condition == .boot ? "when the host boots" : "at login"
        let steps = ["register \(name) with \(context.manager.kind.rawValue), to be started \(when)"]
        return OperationPlan(name: name.text, steps: steps + (now ? ["start it"] : []))
    }

    static func text(_ result: AutostartResult) -> String {
        let when = result.condition == .boot ? "the host boots" : "\(result.account ?? "") logs in"
        let how = result.startCommand.map { "; start it now with: \($0)" } ?? ""
        return "\(result.name) starts when \(when)\(how)\n"
    }

    /// When this very instance is started already: enabling it again renews its registration.
    private func registered(_ context: OperationContext) throws -> AutostartCondition? {
        let home = try context.home()
        return context.manager.registrations(of: try InstanceName(instance.name))
            .first { $0.isFor(home: home.path, of: context.account) }?.condition
    }
}
