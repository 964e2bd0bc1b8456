import GuestAccess
import GuestDriver
import HostAgent
import HostCommands
import HostModel
import HostOS
import InstanceStore
import NIOCore
import QEMUDriver
import ServiceManagement

/// Puts the parts together.
enum Composition {
    static func context(_ environment: [String: String]) -> CommandContext {
        // Taken now: a lock is for this process alone, and a path is of use only while the program still lies there.
        let inheritedLock = HostProcess.takeVariable(Upgrade.lockVariable).flatMap { Int32($0) }
        let binary = HostProcess.executablePath
        // A uid that the user database does not know has no name and no home.
        let account =
            HostProcess.account
            ?? Account(name: "\(HostProcess.uid)", uid: HostProcess.uid, home: environment["HOME"] ?? "/")
        return CommandContext(
            environment: environment, account: account,
            manager: manager(environment, account),
            runAgent: { request in
                let driver = try driver(for: request.instance, environment: request.environment)
                return try await Agent(
                    options: .init(
                        instance: request.instance, home: request.home, environment: request.environment,
                        version: HostAgentCommand.version, startLimit: request.startLimit, sink: request.sink,
                        network: .init(
                            address: QEMUMachine.Network.guest, gateway: QEMUMachine.Network.host,
                            resolver: QEMUMachine.Network.resolver),
                        driverName: "qemu",
                        registered: { scope in
                            manager(environment, account).registrations(of: request.instance.name)
                                .first { $0.scope == scope && $0.isFor(home: request.home.path, of: account) }?.terms
                        },
                        // What was replaced on disk still has its old path here.
                        upgrade: (binary: binary, arguments: Array(CommandLine.arguments.dropFirst())),
                        inheritedLock: inheritedLock),
                    driver: driver
                ).run()
            },
            endOrphan: { directory, force in
                let finder = finder(directory, environment: environment)
                guard let survivor = try finder.survivor() else { return false }
                let settings = (try? Instance(directory))?.settings ?? Settings()
                // A unit's own time is cut, too, where it is a user manager's.
                let grace =
                    SystemdJob.scopeOfOwnUnit(of: directory.name).map {
                        SystemdUnit.effectiveGrace(settings.stopGrace, scope: $0)
                    } ?? settings.stopGrace
                try await finder.end(survivor, grace: grace, force: force)
                return true
            },
            orphan: { directory in (try? finder(directory, environment: environment).survivor())?.process.pid },
            check: { instance in _ = try driver(for: instance, environment: environment) },
            tryAccelerator: {
                let name = QEMUMachine.binary(.host)
                guard let binary = Tool.path(of: name, in: environment["PATH"]),
                    let home = try? LimaHome(environment: environment)
                else { return nil }
                return await AcceleratorProbe(
                    binary: binary, architecture: .host, processor: nil,
                    cacheDirectories: cacheDirectories(home.path, environment)
                ).accelerator()
            })
    }

    private static func manager(_ environment: [String: String], _ account: Account) -> any ServiceManager {
        // launchd's part is run against an emulator on hosts that have none: the tests say so.
        if HostProcess.hasLaunchd || environment["HOSTAGENT_MANAGER"] == "launchd" {
            return LaunchdManager(account: account, environment: environment)
        }
        return SystemdManager(.init(environment: environment, account: account))
    }

    private static func places(_ directory: InstanceDirectory, _ environment: [String: String]) -> QEMUDriver.Places {
        .init(
            pidFile: directory.qemuPID, guestRecord: directory.guestRecord, errorLog: directory.qemuLog,
            cacheDirectories: cacheDirectories(directory.home, environment))
    }

    /// The account's own (XDG base directories); a unit's sandbox lets it write where its instances are, and nowhere
    /// else.
    private static func cacheDirectories(_ instances: String, _ environment: [String: String]) -> [String] {
        let home = environment["HOME"] ?? HostProcess.account?.home ?? "/tmp"
        let cache = environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? home + "/.cache"
        return [cache + "/hostagent", instances + "/_config"]
    }

    /// Enough of a driver to find and end a guest whose configuration may be unreadable.
    private static func finder(_ directory: InstanceDirectory, environment: [String: String]) -> QEMUDriver {
        let machine = QEMUMachine(
            name: directory.name.text, architecture: .host, processor: nil, cpus: 1, memory: 0,
            boot: .bios, disk: .init(path: directory.disk, format: "qcow2"), cidata: directory.cidata,
            serialLog: directory.serialLog, qmpSocket: directory.qmpSocket,
            channelSocket: directory.channelSocket)
        return QEMUDriver(
            machine: machine, places: places(directory, environment), accelerator: nil, environment: environment,
            startedWith: nil, makeReady: {})
    }

    private static func driver(
        for instance: Instance, environment: [String: String]
    ) throws(HostError) -> QEMUDriver {
        let (directory, configuration) = (instance.directory, instance.configuration)
        let machine = QEMUMachine(
            name: instance.name.text, architecture: configuration.architecture,
            processor: configuration.processor, cpus: configuration.cpus, memory: configuration.memory,
            boot: try boot(instance), disk: .init(path: directory.disk, format: "qcow2"), cidata: directory.cidata,
            serialLog: directory.serialLog, qmpSocket: directory.qmpSocket,
            channelSocket: directory.channelSocket)
        return QEMUDriver(
            machine: machine, places: places(directory, environment),
            accelerator: instance.settings.accelerator, environment: environment, startedWith: instance.fixedAtStart,
            makeReady: { try await Preparation(configuration).make(in: directory) })
    }

    private static func boot(_ instance: Instance) throws(HostError) -> QEMUMachine.Boot {
        let (directory, configuration) = (instance.directory, instance.configuration)
        if let direct = configuration.image.directBoot {
            return .kernel(
                path: directory.kernel, initrd: direct.initrd == nil ? nil : directory.initrd,
                commandLine: direct.commandLine)
        }
        if configuration.legacyBIOS, configuration.architecture == .x86_64 { return .bios }
        let firmware = try Firmware.find(configuration.architecture)
        try firmware.makeVariables(at: directory.firmwareVariables)
        return .uefi(code: firmware.code, variables: directory.firmwareVariables)
    }
}

/// NIO's threads.
enum EventLoops {
    /// One loop serves a socket, a monitor and a channel with ease; more only cost memory.
    static func keepSmall() { NIOSingletons.groupLoopCountSuggestion = 1 }
}
