import Foundation
import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// The boundary between root and a directory that another account owns. The owner of a directory decides what its names
/// lead to. A process of that account therefore does everything in it, and root only speaks to the service manager.
package struct OwnerBoundary: Sendable {
    let context: OperationContext
    package let home: LimaHome
    let owner: Account

    /// - Returns: nil when this process is not root, or when root owns every directory on the path.
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

    /// The owner of every directory on the path can change where the path leads. The first account other than root
    /// counts, on the path as written and as resolved.
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

    /// Runs a command of this program as the owner.
    func ask(_ arguments: [String], input: String? = nil) async throws -> Tool.Result {
        // The path of the running executable is used, because the owner could replace the program at another path.
        let tool = AccountSwitch.tool(
            as: owner, HostProcess.executablePath, arguments, input: input, variables: ["LIMA_HOME": home.path],
            environment: context.environment)
        // The rows of many instances have their whole configurations in them.
        let result = try await tool.run(outputLimit: 256 << 20)
        guard !result.isCut else {
            throw HostError(.failed, "\(arguments[0]) as \(owner.name) says more than can be read")
        }
        if result.status == 127 || result.status == 126 {
            throw HostError(
                .unavailable, "cannot run hostagent as \(owner.name): \(result.complaint)",
                hint: "put hostagent where every account may execute it, such as /usr/local/bin")
        }
        return result
    }

    /// Runs a command of this program as the owner, and requires it to succeed.
    /// Lines of its standard error are reported as progress.
    /// - Returns: its standard output.
    /// - Throws: `HostError` with its message and status when it fails.
    /// - Parameter showing: gets the standard output of a command that fails.
    package func perform(
        _ arguments: [String], input: String? = nil, showing: (String) -> Void = { _ in }
    ) async throws -> String {
        let result = try await ask(arguments, input: input)
        guard result.succeeded else {
            showing(result.output)
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

    /// The error for a command that needs a terminal and therefore cannot cross the boundary.
    package func refuse(_ what: String, _ command: String) -> HostError {
        HostError(
            .notPermitted, "root does not \(what) in the directory of \(owner.name)",
            hint: "sudo -u \(owner.name) env LIMA_HOME=\(ShellWord.quoted(home.path)) hostagent \(command)")
    }

    // MARK: Verbs that need root and the owner

    /// The registration by which the machine's manager runs the instance.
    /// The registration of the owner's instance with the machine's manager, which root may change.
    package func machineRegistration(of name: InstanceName) -> FoundRegistration? {
        context.registrations(of: home.directory(of: name)).first { $0.isOurs && $0.scope == .system }
    }

    private func isDown(_ registration: FoundRegistration) async throws -> Bool {
        try await context.manager.status([registration]).first?.isDown ?? true
    }

    package func start(_ name: InstanceName, timeout: Int?) async throws -> StartResult {
        if let registration = machineRegistration(of: name) {
            let wasDown = try await isDown(registration)
            // A start by hand resets the count of failures.
            _ = try await perform(["owner", "forget-failures", name.text])
            try await managerStart(registration, name, timeout: timeout)
            var result: StartResult = try await answer(["start", "--json", name.text])
            if wasDown { result.outcome = .started }
            return result
        }
        let limit = timeout.map { ["--timeout", String($0)] } ?? []
        return try await answer(["start", "--json"] + limit + [name.text])
    }

    /// Starts the unit, or waits for a start that is under way.
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
            // The agent's own reason is in the owner's directory, so a process of the owner reads it.
            let row: InstanceRow? = try? await answer(["list", "--json", name.text])
            throw HostError(
                .failed,
                "\"\(name)\" did not start: \(registration.identifier): \(known?.lastFailure ?? error.message)",
                hint: row?.errors?.last, status: known?.exitStatus.flatMap(HostExitStatus.init(rawValue:)))
        }
    }

    package func stop(_ name: InstanceName, force: Bool) async throws -> StopResult {
        let registration = machineRegistration(of: name)
        var wasManaged = false
        if let registration, try await !isDown(registration) {
            wasManaged = true
            // The owner's process ends a hung agent. The manager is told first; otherwise it would start another agent.
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
        if let registration = machineRegistration(of: name), try await !isDown(registration) {
            guard force else { throw DeleteOperation.runningError(name) }
            _ = try await stop(name, force: true)
            wasStopped = true
        }
        // Obstacles to the deletion are found before the registration is removed.
        _ = try await perform(["owner", "check-deletable"] + (force ? ["--force"] : []) + [name.text])
        let unregistered = try await AutostartOperation(context: context).disable(name)
        var result: DeleteResult = try await answer(["delete", "--json"] + (force ? ["--force"] : []) + [name.text])
        result.wasStopped = result.wasStopped || wasStopped
        result.wasRegistered = result.wasRegistered || unregistered.outcome == .unregistered
        return result
    }
}
