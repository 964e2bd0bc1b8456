import HostModel
import HostOS

/// What a manager is to be told of an instance.
package struct Registration: Sendable, Equatable {
    package var instance: InstanceName
    package var condition: AutostartCondition
    /// Whose manager it is made with. A user manager can start an instance at boot, too, where it lingers.
    package var scope: ManagerScope
    /// Whose guest it is.
    package var account: Account
    /// The absolute path of `hostagent`.
    package var binary: String
    package var limaHome: String
    /// The `PATH` the person had: QEMU and ssh are looked for in it.
    package var searchPath: String?
    package var keepAlive: KeepAlive
    /// Seconds the guest gets to shut down.
    package var stopGrace: Int
    /// Instances that are started before this one and stopped after it, and the other way round.
    package var after: [InstanceName]
    package var before: [InstanceName]
    /// Have the manager start it at once, without waiting for it.
    package var startsNow: Bool
    package var needs: Needs

    /// What the agent and its guest need of the host, where the manager confines them.
    package struct Needs: Sendable, Equatable, Codable {
        /// Directories that are written to, besides the one that holds the instances.
        package var writablePaths: [String]
        package var devices: [String]
        /// A helper has to gain privileges by its file's set-user-id bit or capabilities.
        package var newPrivileges: Bool

        package init(writablePaths: [String] = [], devices: [String] = ["/dev/kvm"], newPrivileges: Bool = false) {
            self.writablePaths = writablePaths
            self.devices = devices
            self.newPrivileges = newPrivileges
        }
    }

    package init(
        instance: InstanceName, condition: AutostartCondition, scope: ManagerScope? = nil, account: Account,
        binary: String, limaHome: String,
        searchPath: String?, keepAlive: KeepAlive, stopGrace: Int, after: [InstanceName] = [],
        before: [InstanceName] = [], startsNow: Bool = false, needs: Needs = Needs()
    ) {
        self.scope = scope ?? condition.scope
        self.needs = needs
        self.after = after
        self.before = before
        self.startsNow = startsNow
        self.instance = instance
        self.condition = condition
        self.account = account
        self.binary = binary
        self.limaHome = limaHome
        self.searchPath = searchPath
        self.keepAlive = keepAlive
        self.stopGrace = stopGrace
    }
}

/// A file of a registration, as its manager is to find it.
package struct RegisteredFile: Sendable, Equatable {
    /// Without its directory, which is the manager's.
    package var name: String
    package var text: String
}

/// A registration that is there.
package struct FoundRegistration: Sendable, Equatable {
    package var instance: InstanceName
    package var condition: AutostartCondition
    /// The unit's name or the job's label.
    package var identifier: String
    /// The unit file or property list.
    package var file: String
    /// Made by hostagent. Others, Lima's own for instance, are not touched unasked.
    package var isOurs: Bool
    /// The `hostagent` that it starts; nil where that cannot be told.
    package var binary: String?
    /// The `LIMA_HOME` of the instance that it starts.
    package var limaHome: String?
    /// The account that it runs as, where the machine's manager does.
    package var owner: String?
    /// Nil where the file does not tell.
    package var terms: RegisteredTerms?

    package var scope: ManagerScope { condition.scope }

    package init(
        instance: InstanceName, condition: AutostartCondition, identifier: String, file: String, isOurs: Bool,
        binary: String? = nil, limaHome: String? = nil, owner: String? = nil, terms: RegisteredTerms? = nil
    ) {
        self.terms = terms
        self.limaHome = limaHome
        self.owner = owner
        self.instance = instance
        self.condition = condition
        self.identifier = identifier
        self.file = file
        self.isOurs = isOurs
        self.binary = binary
    }
}

extension FoundRegistration {
    /// It is ours and starts the instance of this directory of instances, not one of the same name elsewhere or of
    /// somebody else.
    package func isFor(home: String, of account: Account) -> Bool {
        let isSameHome = limaHome.map { $0 == home || Files.isSame($0, home) } ?? true
        let isSameOwner = owner.map { $0 == account.name || account.uid == 0 } ?? true
        return isOurs && isSameHome && isSameOwner
    }

    func isFor(_ registration: Registration) -> Bool {
        isFor(home: registration.limaHome, of: registration.account)
    }

    private var takeOver: String {
        "hostagent autostart enable --take-over \(condition == .boot ? "--condition=boot " : "")\(instance)"
    }

    /// The error that says whose it is.
    var isInTheWay: HostError {
        let whose =
            isOurs
            ? "registers the instance \"\(instance)\" of \(limaHome ?? "another directory")\(owner.map { ", \($0)'s" } ?? "")"
            : "was not made by hostagent"
        return HostError(.cannotCreate, "\(file) \(whose)", hint: "\(takeOver) replaces it")
    }

    var isThereAlready: HostError {
        HostError(
            .cannotCreate, "the instance \"\(instance)\" is registered already, at \(condition.rawValue)",
            hint: "hostagent autostart disable \(instance) first")
    }
}

extension ServiceManager {
    /// Looks whether a registration can be made, before anything is written.
    /// - Returns: what others made that is in the way and is to be taken over.
    /// - Throws: `HostError` with `.cannotCreate`.
    @discardableResult
    package func check(_ registration: Registration, takeOver: Bool) throws(HostError) -> [FoundRegistration] {
        let scope = registration.scope
        let there = registrations(of: registration.instance)
        // The same file; and what somebody else starts by another way would be started twice.
        let foreign = there.filter { !$0.isFor(registration) && ($0.scope == scope || !$0.isOurs) }
        if let first = foreign.first, !takeOver { throw first.isInTheWay }
        if let other = there.first(where: { $0.isFor(registration) && $0.scope != scope }) {
            throw other.isThereAlready
        }
        return foreign
    }
}

/// What a manager knows of a registration.
package struct ManagerStatus: Sendable, Equatable {
    /// What a registered service is doing, in words that both managers share.
    package enum Activity: String, Sendable, Codable, CaseIterable {
        case inactive, starting, active, stopping, failed
        /// Ended, and started again when its delay is over.
        case waiting
    }

    package var isEnabled: Bool
    package var isLoaded: Bool
    package var activity: Activity
    /// The agent.
    package var pid: Int32?
    /// Seconds since 1970 when the activity began.
    package var since: Double?
    package var restarts: Int?
    /// Why it ended last time, in the manager's words; nil when that was no failure.
    package var lastFailure: String?
    /// The exit status of the agent that failed.
    package var exitStatus: Int32?
    /// Seconds since 1970.
    package var nextTry: Double?

    package init(
        isEnabled: Bool, isLoaded: Bool, activity: Activity, pid: Int32? = nil, since: Double? = nil,
        restarts: Int? = nil, lastFailure: String? = nil, exitStatus: Int32? = nil, nextTry: Double? = nil
    ) {
        self.isEnabled = isEnabled
        self.isLoaded = isLoaded
        self.activity = activity
        self.pid = pid
        self.since = since
        self.restarts = restarts
        self.lastFailure = lastFailure
        self.exitStatus = exitStatus
        self.nextTry = nextTry
    }

    /// Nothing of it runs or will run by itself.
    package var isDown: Bool { activity == .inactive || activity == .failed }
}

/// One thing that was looked at on this host.
package struct HostFinding: Codable, Sendable, Equatable {
    package enum Verdict: String, Sendable, Codable {
        case ok, warning, problem
    }

    package var check: String
    package var verdict: Verdict
    package var detail: String
    /// What to do about it.
    package var fix: String?

    package init(_ check: String, _ verdict: Verdict, _ detail: String, fix: String? = nil) {
        self.check = check
        self.verdict = verdict
        self.detail = detail
        self.fix = fix
    }
}

/// A service manager that starts, keeps and stops instances. Each verb runs the manager's own tool and verifies what
/// came of it.
package protocol ServiceManager: Sendable {
    var kind: ManagerKind { get }
    /// A start returns when the guest is ready, not when its agent runs.
    var announcesReadiness: Bool { get }

    /// The registrations of one instance, of every condition, whoever made them.
    func registrations(of instance: InstanceName) -> [FoundRegistration]

    /// All registrations of this account's manager and the machine's.
    func registrations() -> [FoundRegistration]

    /// Makes and enables a registration.
    /// - Parameter takeOver: replace one that somebody else made.
    /// - Returns: sentences a person should read.
    /// - Throws: `HostError`; what was there before is there again then.
    func enable(_ registration: Registration, takeOver: Bool) async throws -> [String]

    /// Removes a registration that hostagent made, with everything that came of it. Stops what runs through it.
    func disable(_ registration: FoundRegistration) async throws

    /// Asks, before anything is stopped, whether this account may have the manager start it again.
    /// - Throws: `HostError` with `.notPermitted`; the hint is the command a permitted person types.
    func requirePermission(toRestart registration: FoundRegistration) async throws

    /// The command with which this account starts a registered instance.
    func startCommand(_ registration: Registration) -> String

    /// Starts the registered instance; returns when the manager says that it is ready.
    /// - Throws: `HostError`; with `.notPermitted` the hint is the command a permitted person types.
    func start(_ registration: FoundRegistration) async throws

    /// Tells the manager that it is to be stopped, and returns at once: what ends from now on is no failure.
    func beginStop(_ registration: FoundRegistration) async throws

    /// Stops it; returns when the manager says that nothing of it runs.
    func stop(_ registration: FoundRegistration) async throws

    /// The last lines that a registered agent said besides its events, where the manager keeps them.
    func lastWords(of registration: FoundRegistration) async -> [String]

    /// What would keep registrations from working on this host, and how it is mended.
    /// - Parameter registrations: those there are.
    func diagnose(_ registrations: [FoundRegistration]) async -> [HostFinding]

    /// What the manager knows, in the order of the argument; asked at once for all.
    func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus]
}
