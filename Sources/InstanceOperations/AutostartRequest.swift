import Foundation
import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// A request to register an instance. Everything is checked before anything is written.
package struct AutostartRequest: Sendable {
    package var condition: AutostartCondition
    package var user: String?
    package var keepAlive: KeepAlive?
    package var linger = false
    package var takeOver = false
    package var now = false

    package init(
        condition: AutostartCondition, user: String? = nil, keepAlive: KeepAlive? = nil, linger: Bool = false,
        takeOver: Bool = false, now: Bool = false
    ) {
        self.condition = condition
        self.user = user
        self.keepAlive = keepAlive
        self.linger = linger
        self.takeOver = takeOver
        self.now = now
    }

    /// Registers the instance.
    /// - Throws: `HostError`; the previous registration and settings have then been restored.
    package func enable(_ name: String, _ context: OperationContext) async throws -> AutostartResult {
        let work = try await checked(name, context)
        if linger { try await Linger.enable(work.registration.account) }
        // Written before the manager may start the agent, which reads the policy from its settings.
        let before = try await keepAlive.asyncMap(work.files.setKeepAlive)
        let notes: [String]
        do {
            notes = try await context.manager.enable(work.registration, takeOver: takeOver)
        } catch {
            if let before { try await work.files.restore(before) }
            throw error
        }
        return AutostartResult(
            name: work.directory.name.text, outcome: .registered, dir: work.directory.path, condition: condition,
            account: work.registration.account.name, notes: notes,
            startCommand: now ? nil : context.manager.startCommand(work.registration))
    }

    /// What `enable` would do. The steps are empty if the instance is registered just like this already.
    /// - Throws: `HostError` for everything that `enable` refuses before it makes anything.
    package func plan(_ name: String, _ context: OperationContext) async throws -> OperationPlan {
        let work = try await checked(name, context)
        let instance = work.directory.name
        let keepsPolicy = keepAlive.map { $0 == work.policy } ?? true
        let lingers = !linger || Linger.isEnabled(work.registration.account)
        let isMade = try await context.manager.isMade(work.registration) && keepsPolicy && lingers
        let when = condition == .boot ? "when the host boots" : "at login"
        let register = "register \(instance) with \(context.manager.kind.rawValue), to be started \(when)"
        return OperationPlan(name: instance.text, steps: (isMade ? [] : [register]) + (now ? ["start it"] : []))
    }

    /// A request that can be carried out.
    private struct Work {
        var directory: InstanceDirectory
        var files: InstanceFiles
        var registration: Registration
        /// The policy in the instance's settings.
        var policy: KeepAlive
    }

    private func checked(_ name: String, _ context: OperationContext) async throws -> Work {
        let owner = try owner(context)
        let home = try home(of: owner, context)
        let directory = try home.existing(InstanceName(name))
        // Root registers for an account that is named. Otherwise it would register the instance for itself.
        if let boundary = OwnerBoundary(directory, context), boundary.owner != owner {
            throw boundary.refuse("register instances for itself", "autostart enable \(directory.name)")
        }
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
        return Work(directory: directory, files: files, registration: registration, policy: facts.keepAlive)
    }

    private func owner(_ context: OperationContext) throws(HostError) -> Account {
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

    private func home(of owner: Account, _ context: OperationContext) throws(HostError) -> LimaHome {
        if owner == context.account || context.environment["LIMA_HOME"]?.isEmpty == false { return try context.home() }
        return LimaHome(path: owner.home + "/.lima")
    }
}

/// Reads and changes the files of an instance as the account that owns them.
private struct InstanceFiles: Sendable {
    private let directory: InstanceDirectory
    /// Nil when this process may work on the files itself.
    private let boundary: OwnerBoundary?

    init(_ directory: InstanceDirectory, owner: Account, home: LimaHome, _ context: OperationContext) {
        self.directory = directory
        let isOther = context.account.uid == 0 && owner.uid != 0
        boundary = isOther ? OwnerBoundary(context: context, home: home, owner: owner) : nil
    }

    private func answer<Value: Decodable>(_ words: [String], _ boundary: OwnerBoundary) async throws -> Value {
        let output = try await boundary.perform(["owner"] + words + [directory.name.text])
        return try JSONDecoder().decode(Value.self, from: Data(output.utf8))
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
        let input = String(decoding: try JSONEncoder().encode(before), as: UTF8.self)
        _ = try await boundary.perform(["owner", "restore", directory.name.text], input: input)
    }
}

extension Optional {
    fileprivate func asyncMap<Value>(_ transform: (Wrapped) async throws -> Value) async rethrows -> Value? {
        if let self { try await transform(self) } else { nil }
    }
}
