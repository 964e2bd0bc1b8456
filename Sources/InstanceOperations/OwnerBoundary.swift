import Foundation
import HostModel
import HostOS
import InstanceStore
import ServiceManagement

/// Root at work in a directory that another account owns. Whoever owns a directory decides what its names lead to, so
/// everything in it is done by a process of that account; root itself only speaks to the service manager.
package struct OwnerBoundary: Sendable {
    let context: OperationContext
    package let home: LimaHome
    let owner: Account

    /// - Returns: nil where this process is not root, or no other account has a say in where the directory is.
    package init?(_ name: String? = nil, _ context: OperationContext) throws(HostError) {
        let home = try context.home()
        guard let name, let instance = try? InstanceName(name) else {
            self.init(path: home.path, home, context)
            return
        }
        self.init(path: home.directory(of: instance).path, home, context)
    }

    package init?(_ directory: InstanceDirectory, _ context: OperationContext) {
        self.init(path: directory.path, LimaHome(path: directory.home), context)
    }

    /// Not only the owner of the directory decides where its name leads, but the owner of every directory above it: the
    /// first account other than root counts, on the path as it is written and as it is resolved.
    private init?(path: String, _ home: LimaHome, _ context: OperationContext) {
        guard context.account.uid == 0, let uid = Files.firstForeignOwner(onTheWayTo: path) else { return nil }
        self.init(
            context: context, home: home,
            owner: HostProcess.account(uid: uid) ?? Account(name: "\(uid)", uid: uid, home: "/"))
    }

    init(context: OperationContext, home: LimaHome, owner: Account) {
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

    /// Runs a command as the owner.
    /// - Returns: its standard output. Lines of its standard error are reported as progress.
    /// - Throws: `HostError` with what it said and its status, where it failed.
    package func perform(_ arguments: [String], input: String? = nil) async throws -> String {
        let result = try await ask(arguments, input: input)
        guard result.succeeded else {
            var said = result.error.trimmed
            if said.hasPrefix("hostagent: ") { said.removeFirst("hostagent: ".count) }
            throw HostError(
                .failed, said.isEmpty ? "\(arguments[0]) failed as \(owner.name)" : said,
                status: HostExitStatus(rawValue: result.status) ?? .failure)
        }
        for line in result.error.split(separator: "\n") { context.progress(.remark(String(line))) }
        return result.output
    }

    private func answer<Value: Decodable>(_ arguments: [String]) async throws -> Value {
        try JSONDecoder().decode(Value.self, from: Data(try await perform(arguments).utf8))
    }

    /// The error for a command that needs a terminal.
    package func refuse(_ what: String, _ command: String) -> HostError {
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

    package func start(_ name: InstanceName, timeout: Int?) async throws -> StartResult {
        if let registration = registration(of: name) {
            let wasDown = try await isDown(registration)
            // A start by hand begins a new count of failures.
            _ = try await perform(["owner", "forget-failures", name.text])
            try await managerStart(registration, name, timeout: timeout)
            var result: StartResult = try await answer(["start", "--json", name.text])
            if wasDown { result.outcome = .started }
            return result
        }
        let limit = timeout.map { ["--timeout", String($0)] } ?? []
        return try await answer(["start", "--json"] + limit + [name.text])
    }

    /// If it is being started already, this waits for it.
    private func managerStart(_ registration: FoundRegistration, _ name: InstanceName, timeout: Int?) async throws {
        do {
            guard let timeout else { return try await context.manager.start(registration) }
            let manager = context.manager
            let isDone: Void? = try await withTimeLimit(.seconds(timeout)) { try await manager.start(registration) }
            if isDone == nil {
                throw HostError(
                    .failed, "\"\(name)\" was not ready within \(timeout) s, and is still being started",
                    hint: "hostagent list shows how it goes")
            }
        } catch let error as HostError where error.code == .failed && timeout == nil {
            let known = (try? await context.manager.status([registration]))?.first
            // The agent's own reason is in a directory that only its owner's process reads.
            let row: InstanceRow? = try? await answer(["list", "--json", name.text])
            throw HostError(
                .failed,
                "\"\(name)\" did not start: \(registration.identifier): \(known?.lastFailure ?? error.message)",
                hint: row?.errors?.last, status: known?.exitStatus.flatMap(HostExitStatus.init(rawValue:)))
        }
    }

    package func stop(_ name: InstanceName, force: Bool) async throws -> StopResult {
        let registration = registration(of: name)
        var wasManaged = false
        if let registration, try await !isDown(registration) {
            wasManaged = true
            // A hung agent is ended by the owner's process. The manager is told first, or it would start another.
            if force {
                try await context.manager.beginStop(registration)
            } else {
                try await context.manager.stop(registration)
            }
        }
        var result: StopResult = try await answer(["stop", "--json"] + (force ? ["--force"] : []) + [name.text])
        if wasManaged, force, let registration { try await context.manager.stop(registration) }
        if wasManaged { result.outcome = .stopped }
        return result
    }

    package func delete(_ name: InstanceName, force: Bool) async throws -> DeleteResult {
        var wasStopped = false
        if let registration = registration(of: name), try await !isDown(registration) {
            guard force else { throw DeleteOperation.runningError(name) }
            _ = try await stop(name, force: true)
            wasStopped = true
        }
        // What keeps it from being deleted is known before its registration is gone.
        _ = try await perform(["owner", "check-deletable"] + (force ? ["--force"] : []) + [name.text])
        let unregistered = try await AutostartOperation(context: context).disable(name)
        var result: DeleteResult = try await answer(["delete", "--json"] + (force ? ["--force"] : []) + [name.text])
        result.wasStopped = result.wasStopped || wasStopped
        result.wasRegistered = result.wasRegistered || unregistered.outcome == .unregistered
        return result
    }
}
