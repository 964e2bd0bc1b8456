import ArgumentParser
import Foundation
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
        guard now else { return }
        if let boundary = try OwnerBoundary(instance.name, context) {
            return try await boundary.start(directory.name, arguments: ["start", directory.name.text])
        }
        let starter = Starter(context: context, directory: directory, timeout: nil, progress: false)
        try await starter.run(isBeingStarted: condition == .boot)
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
        let files = InstanceFiles(directory, owner: owner, home: home, context)
        let facts = try await files.facts()
        let registration = Registration(
            instance: directory.name, condition: condition, scope: linger ? .user : condition.scope, account: owner,
            binary: HostProcess.stableExecutablePath, limaHome: home.path, searchPath: context.environment["PATH"],
            keepAlive: keepAlive ?? facts.keepAlive, stopGrace: facts.stopGrace,
            after: try facts.after.map { text throws(HostError) in try InstanceName(text) },
            before: try facts.before.map { text throws(HostError) in try InstanceName(text) },
            startsNow: now && condition == .boot && !linger, needs: facts.needs)
        try context.manager.check(registration, takeOver: takeOver)
        if linger { try await Linger.enable(owner) }
        // Before the manager may start it: the agent asks its settings for the policy.
        let before = try await keepAlive.asyncMap(files.setKeepAlive)
        let notes: [String]
        do {
            notes = try await context.manager.enable(registration, takeOver: takeOver)
        } catch {
            if let before { try await files.restore(before) }
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
}

/// The files of an instance that is registered, in the hands of whoever owns them.
private struct InstanceFiles: Sendable {
    private let directory: InstanceDirectory
    /// Nil where they are this process's own.
    private let boundary: OwnerBoundary?

    init(_ directory: InstanceDirectory, owner: Account, home: LimaHome, _ context: CommandContext) {
        self.directory = directory
        let isOther = context.account.uid == 0 && Files.owner(directory.path) != 0
        boundary = isOther ? OwnerBoundary(context: context, home: home, owner: owner) : nil
    }

    private func answer<Value: Decodable>(_ words: [String], _ boundary: OwnerBoundary) async throws -> Value {
        let result = try await boundary.ask(["owner"] + words + [directory.name.text])
        guard result.succeeded else {
            StandardStreams.error(result.error)
            throw Exit(status: HostExitStatus(rawValue: result.status) ?? .failure)
        }
        return try JSONDecoder().decode(Value.self, from: Data(result.output.utf8))
    }

    func facts() async throws -> RegistrationWork.Facts {
        guard let boundary else { return try RegistrationWork.facts(directory) }
        return try await answer(["facts"], boundary)
    }

    func setKeepAlive(_ policy: KeepAlive) async throws -> RegistrationWork.Before {
        guard let boundary else { return try RegistrationWork.setKeepAlive(policy, directory) }
        return try await answer(["set-keep-alive", policy.rawValue], boundary)
    }

    func restore(_ before: RegistrationWork.Before) async throws {
        guard let boundary else { return try RegistrationWork.restore(before, directory) }
        try await boundary.perform(["owner", "restore", directory.name.text], input: try JSONText.line(before))
    }
}

extension Optional {
    fileprivate func asyncMap<Value>(_ transform: (Wrapped) async throws -> Value) async rethrows -> Value? {
        if let self { try await transform(self) } else { nil }
    }
}
