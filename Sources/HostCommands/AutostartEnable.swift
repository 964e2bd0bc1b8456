import ArgumentParser
import HostModel
import HostOS
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

    func validate() throws {
        if user != nil, condition == .login { throw ValidationError("--user goes with --condition=boot only") }
        if linger, condition == .login { throw ValidationError("--linger goes with --condition=boot only") }
        if linger, user != nil { throw ValidationError("--linger is for your own account, not for --user") }
    }

    func run() async throws {
        let context = CommandContext.current
        let isForBoot = user != nil || linger
        let condition = try condition ?? (isForBoot ? .boot : registered(context)) ?? .login
        let request = AutostartRequest(
            condition: condition, user: user, keepAlive: keepAlive?.policy, linger: linger, takeOver: takeOver,
            now: now)
        let directory = try await request.enable(instance.name, context)
        let starter = Starter(context: context, directory: directory, timeout: nil, progress: false)
        if now { try await starter.run(isBeingStarted: condition == .boot) }
    }

    /// When this very instance is started already: enabling it again renews its registration.
    private func registered(_ context: CommandContext) throws -> AutostartCondition? {
        let home = try context.home()
        return context.manager.registrations(of: try InstanceName(instance.name))
            .first { $0.isFor(home: home.path, of: context.account) }?.condition
    }
}

/// What a person wants registered. Everything is checked before anything is written.
struct AutostartRequest: Sendable {
    var condition: AutostartCondition
    var user: String?
    var keepAlive: KeepAlive?
    var linger = false
    var takeOver = false
    var now = false

    /// - Returns: the instance's directory.
    func enable(_ name: String, _ context: CommandContext) async throws -> InstanceDirectory {
        let owner = try owner(context)
        let home = try home(of: owner, context)
        let directory = try home.existing(InstanceName(name))
        let instance = try Instance(directory)
        // What a unit could not start should be known now.
        try directory.checkSocketPaths()
        let registration = Registration(
            instance: directory.name, condition: linger ? .login : condition, account: owner,
            binary: HostProcess.executablePath, limaHome: home.path, searchPath: context.environment["PATH"],
            keepAlive: keepAlive ?? instance.settings.keepAlive, stopGrace: instance.settings.stopGrace,
            after: instance.settings.after, before: instance.settings.before,
            startsNow: now && condition == .boot && !linger)
        try context.manager.check(registration, takeOver: takeOver)
        if linger { try await Linger.enable(owner) }
        // Before the manager may start it: the agent asks its settings for the policy.
        let before = try remember(keepAlive, directory)
        let notes: [String]
        do {
            notes = try await context.manager.enable(registration, takeOver: takeOver)
        } catch {
            try before?.restore()
            throw error
        }
        for note in notes { StandardStreams.error("hostagent: note: \(note)\n") }
        let when = condition == .boot ? "the host boots" : "\(owner.name) logs in"
        let how = now ? "" : "; start it now with: \(context.manager.startCommand(registration))"
        StandardStreams.output("\(directory.name) starts when \(when)\(how)\n")
        return directory
    }

    private func owner(_ context: CommandContext) throws(HostError) -> Account {
        if let user {
            guard let account = HostProcess.account(named: user) else {
                throw HostError(.usage, "there is no account \(InstanceName.quoted(user)) on this host")
            }
            if account.uid == 0 { throw Self.rootIsNobodysGuest }
            return account
        }
        if condition == .boot, context.account.uid == 0 { throw Self.rootIsNobodysGuest }
        return context.account
    }

    private static let rootIsNobodysGuest = HostError(
        .usage, "the agent of a guest does not run as root at boot", hint: "name the guest's owner with --user")

    private func home(of owner: Account, _ context: CommandContext) throws(HostError) -> LimaHome {
        if owner == context.account || context.environment["LIMA_HOME"]?.isEmpty == false { return try context.home() }
        return LimaHome(path: owner.home + "/.lima")
    }

    /// What a file held.
    private struct Before {
        let path: String
        let text: String?

        func restore() throws {
            if let text { try TextFile.replace(path, with: text) } else { try Files.remove(path) }
        }
    }

    /// The agent asks its settings for the policy, so they have to agree with the manager's.
    /// - Returns: nil when nothing had to be changed.
    private func remember(_ keepAlive: KeepAlive?, _ directory: InstanceDirectory) throws(HostError) -> Before? {
        let path = directory.settings
        do {
            let text = Files.kind(path) == nil ? nil : try TextFile.read(path)
            guard let keepAlive, try Settings.load(text ?? "", file: path).keepAlive != keepAlive else { return nil }
            try TextFile.replace(path, with: Settings.setting("keepAlive", to: keepAlive.rawValue, in: text ?? ""))
            try Files.setOwner(path, like: directory.path)
            return Before(path: path, text: text)
        } catch {
            throw (error as? HostError) ?? HostError(.cannotCreate, "cannot write \(path): \(error)")
        }
    }
}
