import HostModel
import HostOS

/// What a manager has to know about an instance.
package struct Registration: Sendable, Equatable {
    package var instance: InstanceName
    package var condition: AutostartCondition
    /// The manager that gets the registration. A user manager can also start an instance at boot if it lingers.
    package var scope: ManagerScope
    /// The account that owns the guest.
    package var account: Account
    /// The absolute path of `hostagent`.
    package var binary: String
    package var limaHome: String
    /// The `PATH` of the person who registers the instance. QEMU and ssh are searched for in it.
    package var searchPath: String?
    package var keepAlive: KeepAlive
    /// Seconds that the guest gets to shut down.
    package var stopGrace: Int
    /// Instances that are started before this one and stopped after it. `before` is the opposite.
    package var after: [InstanceName]
    package var before: [InstanceName]
    /// Whether the manager starts the instance at once. `enable` does not wait for the start.
    package var startsNow: Bool
    package var needs: Needs

    /// What the agent and its guest need of the host if the manager runs them in a sandbox.
    package struct Needs: Sendable, Equatable, Codable {
        /// Writable directories, in addition to the one that holds the instances.
        package var writablePaths: [String]
        package var devices: [String]
        /// Whether a helper has to gain privileges from its file's set-user-id bit or capabilities.
        package var newPrivileges: Bool
        /// Whether a helper confines itself by namespaces and mounts of its own, as bubblewrap and passt do.
        package var namespaces: Bool
        /// Whether a helper asks the kernel about the host's network (netlink(7)).
        package var netlink: Bool
        /// Directories that are read. They matter if they are in a temporary directory, which a sandbox otherwise replaces.
        package var readablePaths: [String]

        package init(
            writablePaths: [String] = [], readablePaths: [String] = [], devices: [String] = ["/dev/kvm"],
            newPrivileges: Bool = false, namespaces: Bool = false, netlink: Bool = false
        ) {
            self.writablePaths = writablePaths
            self.readablePaths = readablePaths
            self.devices = devices
            self.newPrivileges = newPrivileges
            self.namespaces = namespaces
            self.netlink = netlink
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

/// A file of a registration, as its manager reads it.
package struct RegisteredFile: Sendable, Equatable {
    /// The name without the directory. The manager determines the directory.
    package var name: String
    package var text: String
}

/// A registration that exists.
package struct FoundRegistration: Sendable, Equatable {
    package var instance: InstanceName
    package var condition: AutostartCondition
    /// The unit's name or the job's label.
    package var identifier: String
    /// The unit file or property list.
    package var file: String
    /// Whether hostagent made it. Others, such as those of Lima, are only changed on request.
    package var isOurs: Bool
    /// The `hostagent` that it starts; nil if unknown.
    package var binary: String?
    /// The `LIMA_HOME` of the instance that it starts.
    package var limaHome: String?
    /// The account that it runs as if the machine's manager runs it.
    package var owner: String?
    /// Nil if the file does not contain them.
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
    /// Whether hostagent made it for the instance in this directory of instances, and not for one of the same name in
    /// another directory or of another account.
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

    /// The error that names the owner of the conflicting registration.
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
    /// Checks whether a registration can be made, before anything is written.
    /// - Returns: the conflicting registrations of others, which are to be taken over.
    /// - Throws: `HostError` with `.cannotCreate`.
    @discardableResult
    package func check(_ registration: Registration, takeOver: Bool) throws(HostError) -> [FoundRegistration] {
        let scope = registration.scope
        let there = registrations(of: registration.instance)
        // These use the same file, or they are made by others in another scope and would start the instance a second
        // time.
        let foreign = there.filter { !$0.isFor(registration) && ($0.scope == scope || !$0.isOurs) }
        if let first = foreign.first, !takeOver { throw first.isInTheWay }
        if let other = there.first(where: { $0.isFor(registration) && $0.scope != scope }) {
            throw other.isThereAlready
        }
        return foreign
    }
}

extension ServiceManager {
    /// Whether a registration is made and enabled already, just as `enable` would make it.
    package func isMade(_ registration: Registration) async throws -> Bool {
        let found = registrations(of: registration.instance).first {
            $0.isFor(registration) && $0.scope == registration.scope
        }
        guard let found else { return false }
        for file in try files(of: registration) {
            guard (try? TextFile.read(file.path, limit: 1 << 20)) == file.text else { return false }
        }
        return try await status([found]).first?.isEnabled == true
    }
}

/// What a manager knows about a registration.
package struct ManagerStatus: Sendable, Equatable {
    /// What a registered service is doing, in terms that fit both managers.
    package enum Activity: String, Sendable, Codable, CaseIterable {
        case inactive, starting, active, stopping, failed
        /// The service has ended and will be started again after a delay.
        case waiting
    }

    package var isEnabled: Bool
    package var isLoaded: Bool
    package var activity: Activity
    /// The process ID of the agent.
    package var pid: Int32?
    /// When the activity began, in seconds since 1970.
    package var since: Double?
    package var restarts: Int?
    /// How often the manager has started it since it was loaded; nil if the manager does not count.
    package var runs: Int?
    /// Why it last failed, as the manager reports it; nil if its last end was not a failure.
    package var lastFailure: String?
    /// The exit status of the agent that failed.
    package var exitStatus: Int32?
    /// Seconds since 1970.
    package var nextTry: Double?

    package init(
        isEnabled: Bool, isLoaded: Bool, activity: Activity, pid: Int32? = nil, since: Double? = nil,
        restarts: Int? = nil, runs: Int? = nil, lastFailure: String? = nil, exitStatus: Int32? = nil,
        nextTry: Double? = nil
    ) {
        self.isEnabled = isEnabled
        self.isLoaded = isLoaded
        self.activity = activity
        self.pid = pid
        self.since = since
        self.restarts = restarts
        self.runs = runs
        self.lastFailure = lastFailure
        self.exitStatus = exitStatus
        self.nextTry = nextTry
    }

    /// Whether nothing of it runs, and the manager will not start it again by itself.
    package var isDown: Bool { activity == .inactive || activity == .failed }
}

/// The result of one check of this host.
package struct HostFinding: Codable, Sendable, Equatable {
    package enum Verdict: String, Sendable, Codable {
        case ok, warning, problem
    }

    package var check: String
    package var verdict: Verdict
    package var detail: String
    /// How to fix it.
    package var fix: String?

    package init(_ check: String, _ verdict: Verdict, _ detail: String, fix: String? = nil) {
        self.check = check
        self.verdict = verdict
        self.detail = detail
        self.fix = fix
    }
}

/// A service manager that starts instances, keeps them running and stops them. Each method runs the manager's own tool
/// and verifies the result.
package protocol ServiceManager: Sendable {
    var kind: ManagerKind { get }
    /// Whether a start returns when the guest is ready, and not already when its agent runs.
    var announcesReadiness: Bool { get }

    /// The registrations of one instance for every condition, whoever made them.
    func registrations(of instance: InstanceName) -> [FoundRegistration]

    /// All registrations with this account's manager and the machine's manager.
    func registrations() -> [FoundRegistration]

    /// The files that `enable` writes for a registration, with their paths.
    func files(of registration: Registration) throws -> [(path: String, text: String)]

    /// Makes and enables a registration.
    /// - Parameter takeOver: whether to replace registrations that somebody else made.
    /// - Returns: sentences that the user should read.
    /// - Throws: `HostError`. The previous state is restored in that case.
    func enable(_ registration: Registration, takeOver: Bool) async throws -> [String]

    /// Removes a registration that hostagent made, with everything that belongs to it. Stops the instance if the
    /// manager runs it.
    func disable(_ registration: FoundRegistration) async throws

    /// Checks, before anything is stopped, whether this account may make the manager start it again.
    /// - Throws: `HostError` with `.notPermitted`. The hint is the command for a person with permission.
    func requirePermission(toRestart registration: FoundRegistration) async throws

    /// The command with which this account starts a registered instance.
    func startCommand(_ registration: Registration) -> String

    /// Starts the registered instance. Returns when the manager says that it is ready.
    /// - Throws: `HostError`. With `.notPermitted`, the hint is the command for a person with permission.
    func start(_ registration: FoundRegistration) async throws

    /// Tells the manager to stop it and returns at once. The manager then does not treat the end of the agent as a
    /// failure.
    func beginStop(_ registration: FoundRegistration) async throws

    /// Has the manager load the registration's file and program anew while the instance runs: a new agent attaches to the
    /// guest. Does nothing if the manager reads both at every start.
    func reload(_ registration: FoundRegistration) async throws

    /// Stops it. Returns when the manager says that nothing of it runs.
    func stop(_ registration: FoundRegistration) async throws

    /// The last lines of a registered agent's output, without its events, if the manager keeps them.
    func lastWords(of registration: FoundRegistration) async -> [String]

    /// Checks for anything that keeps registrations from working on this host, and says how to fix it.
    /// - Parameter registrations: the existing registrations.
    func diagnose(_ registrations: [FoundRegistration]) async -> [HostFinding]

    /// What the manager knows about each registration, in the order of the argument.
    func status(_ registrations: [FoundRegistration]) async throws -> [ManagerStatus]
}

extension ServiceManager {
    package func reload(_ registration: FoundRegistration) async throws {}
}
