import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

struct AutostartEnable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "enable", abstract: "Makes the service manager start an instance at login or at boot.")

    @OptionGroup var instance: InstanceArgument

    @Option(
        help: ArgumentHelp(
            "When to start it: login, or boot (before anybody logs in; enabling and disabling need root). Default: "
                + "as registered, otherwise login."))
    var condition: AutostartCondition?

    @Option(help: ArgumentHelp("The instance's owner, for --condition=boot; default: yourself.", valueName: "account"))
    var user: String?

    @Option(
        help: "When to restart it: on-failure (default; also true), always, or no (also false).")
    var keepAlive: KeepAliveArgument?

    @Flag(
        help: "With --condition=boot: your user manager starts it and runs from boot on (linger). Needs no root."
    )
    var linger = false

    @Flag(help: "Also start it now.")
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
        let request = AutostartRequest(
            condition: condition, user: user, keepAlive: keepAlive?.policy, linger: linger, takeOver: takeOver,
            now: now)
        if output.dryRun { return try output.show(plan: await request.plan(instance.name, context)) }
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

    static func text(_ result: AutostartResult) -> String {
        let when = result.condition == .boot ? "the host boots" : "\(result.account ?? "") logs in"
        let how = result.startCommand.map { "; start it now with: \($0)" } ?? ""
        return "\(result.name) starts when \(when)\(how)\n"
    }

    /// The condition under which this instance is registered already. Enabling it again renews that registration.
    private func registered(_ context: OperationContext) throws -> AutostartCondition? {
        let home = try context.home()
        return context.manager.registrations(of: try InstanceName(instance.name))
            .first { $0.isFor(home: home.path, of: context.account) }?.condition
    }
}
