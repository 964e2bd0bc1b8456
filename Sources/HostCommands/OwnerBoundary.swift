import Foundation
import HostModel
import HostOS
import InstanceStore
import ServiceManagement

/// Root at work in a directory that another account owns. Whoever owns a directory decides what its names lead to, so
/// everything in it is done by a process of that account; root itself only speaks to the service manager.
struct OwnerBoundary: Sendable {
    let context: CommandContext
    let home: LimaHome
    let owner: Account

    /// - Returns: nil where this process is not root, or works in its own directory.
    init?(_ name: String? = nil, _ context: CommandContext) throws(HostError) {
        guard context.account.uid == 0 else { return nil }
        let home = try context.home()
        var path = home.path
        if let name, let name = try? InstanceName(name), Files.kind(home.directory(of: name).path) != nil {
            path = home.directory(of: name).path
        }
        guard let uid = Files.owner(path), uid != 0 else { return nil }
        self.init(
            context: context, home: home,
            owner: HostProcess.account(uid: uid) ?? Account(name: "\(uid)", uid: uid, home: "/"))
    }

    init(context: CommandContext, home: LimaHome, owner: Account) {
        self.context = context
        self.home = home
        self.owner = owner
    }

    /// Runs this program's command as the owner.
    func ask(_ arguments: [String], input: String? = nil) async throws -> Tool.Result {
        // By the program that runs: its path may be one that the owner could replace.
        let tool = AccountSwitch.tool(
            as: owner, HostProcess.executablePath, arguments, input: input, variables: ["LIMA_HOME": home.path],
            environment: context.environment)
        let result = try await tool.run()
        if result.status == 127 || result.status == 126 {
            throw HostError(
                .unavailable, "cannot run hostagent as \(owner.name): \(result.complaint)",
                hint: "put hostagent where every account may execute it, such as /usr/local/bin")
        }
        return result
    }

    /// Runs a command as the owner and shows what it says.
    /// - Throws: `Exit` with its status where it failed.
    func perform(_ arguments: [String], input: String? = nil) async throws {
        let result = try await ask(arguments, input: input)
        StandardStreams.output(result.output)
        StandardStreams.error(result.error)
        if !result.succeeded { throw Exit(status: HostExitStatus(rawValue: result.status) ?? .failure) }
    }

    /// What cannot be done through a process without a terminal.
    func refuse(_ what: String, _ command: String) -> HostError {
        HostError(
            .notPermitted, "root does not \(what) in the directory of \(owner.name)",
            hint: "sudo -u \(owner.name) env LIMA_HOME=\(ShellWord.quoted(home.path)) hostagent \(command)")
    }

    // MARK: Verbs that need root and the owner

    /// The registration by which the machine's manager runs the instance.
    private func registration(of name: InstanceName) -> FoundRegistration? {
        context.registrations(of: home.directory(of: name)).first { $0.isOurs && $0.scope == .system }
    }

    private func isDown(_ registration: FoundRegistration) async throws -> Bool {
        try await context.manager.status([registration]).first?.isDown ?? true
    }

    func start(_ name: InstanceName, arguments: [String]) async throws {
        guard let registration = registration(of: name) else { return try await perform(arguments) }
        let wasDown = try await isDown(registration)
        try await context.manager.start(registration)
        StandardStreams.output("\(name) is running\(wasDown ? "" : " already")\n")
    }

    func stop(_ name: InstanceName, force: Bool) async throws {
        let registration = registration(of: name)
        var wasManaged = false
        if let registration, try await !isDown(registration) {
            wasManaged = true
            // A hung agent is ended by the owner's process; the manager is told first, or it would start another.
            if force {
                try await context.manager.beginStop(registration)
            } else {
                try await context.manager.stop(registration)
            }
        }
        let rest = try await ask(["stop"] + (force ? ["--force"] : []) + [name.text])
        if wasManaged, force, let registration { try await context.manager.stop(registration) }
        StandardStreams.error(rest.error)
        guard rest.succeeded else { throw Exit(status: HostExitStatus(rawValue: rest.status) ?? .failure) }
        StandardStreams.output(wasManaged ? "\(name) is stopped\n" : rest.output)
    }

    func delete(_ name: InstanceName, force: Bool) async throws {
        if let registration = registration(of: name), try await !isDown(registration) {
            guard force else { throw Delete.isRunning(name) }
            try await stop(name, force: true)
        }
        // What keeps it from being deleted is known before its registration is gone.
        try await perform(["owner", "check-deletable"] + (force ? ["--force"] : []) + [name.text])
        _ = try await AutostartDisable.unregister(name, context)
        try await perform(["delete"] + (force ? ["--force"] : []) + [name.text])
    }
}
