import HostModel

/// What a manager is to be told of an instance.
package struct Registration: Sendable, Equatable {
    package var instance: InstanceName
    package var condition: AutostartCondition
    /// Whose guest it is.
    package var account: Account
    /// The absolute path of `hostagent`.
    package var binary: String
    package var limaHome: String
    /// Where verdicts about the host are kept.
    package var cacheDirectory: String
    /// The `PATH` the person had: QEMU and ssh are looked for in it.
    package var searchPath: String?
    package var keepAlive: KeepAlive
    /// Seconds the guest gets to shut down.
    package var stopGrace: Int

    package init(
        instance: InstanceName, condition: AutostartCondition, account: Account, binary: String, limaHome: String,
        cacheDirectory: String, searchPath: String?, keepAlive: KeepAlive, stopGrace: Int
    ) {
        self.instance = instance
        self.condition = condition
        self.account = account
        self.binary = binary
        self.limaHome = limaHome
        self.cacheDirectory = cacheDirectory
        self.searchPath = searchPath
        self.keepAlive = keepAlive
        self.stopGrace = stopGrace
    }
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

    package var scope: ManagerScope { condition.scope }

    package init(
        instance: InstanceName, condition: AutostartCondition, identifier: String, file: String, isOurs: Bool,
        binary: String? = nil
    ) {
        self.instance = instance
        self.condition = condition
        self.identifier = identifier
        self.file = file
        self.isOurs = isOurs
        self.binary = binary
    }
}

extension FoundRegistration {
    var notOurs: HostError {
        HostError(
            .cannotCreate, "\(file) was not made by hostagent",
            hint: "hostagent autostart enable --take-over \(instance) replaces it")
    }

    var isThereAlready: HostError {
        HostError(
            .cannotCreate, "the instance \"\(instance)\" is registered already, at \(condition.rawValue)",
            hint: "hostagent autostart disable \(instance) first")
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

    /// Makes and enables a registration.
    /// - Parameter takeOver: replace one that somebody else made.
    /// - Returns: sentences a person should read.
    /// - Throws: `HostError`; what was there before is there again then.
    func enable(_ registration: Registration, takeOver: Bool) async throws -> [String]

    /// Removes a registration that hostagent made, with everything that came of it. Stops what runs through it.
    func disable(_ registration: FoundRegistration) async throws

    /// Starts the registered instance; returns when the manager says that it is ready.
    /// - Throws: `HostError`; with `.notPermitted` the hint is the command a permitted person types.
    func start(_ registration: FoundRegistration) async throws

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
