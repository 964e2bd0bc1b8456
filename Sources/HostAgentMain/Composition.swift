import GuestAccess
import GuestDriver
import HostAgent
import HostCommands
import HostModel
import HostOS
import Images
import InstanceOperations
import InstanceStore
import LimaConfiguration
import NIOCore
import QEMUDriver
import ServiceManagers

/// Connects the modules to each other.
enum Composition {
    static func context(_ environment: [String: String]) -> OperationContext {
        // Both are read early. The lock is only for this process, and the path is only useful while the program is
        // still there.
        let inheritedLock = HostProcess.takeVariable(ProgramReplacement.lockVariable).flatMap { Int32($0) }
        let binary = HostProcess.stableExecutablePath
        // A uid that the user database does not know has no name and no home.
        let account =
            HostProcess.account
            ?? Account(name: "\(HostProcess.uid)", uid: HostProcess.uid, home: environment["HOME"] ?? "/")
        return OperationContext(
            environment: environment, account: account,
            manager: manager(environment, account), sourceFiles: sourceFiles(environment),
            runAgent: { request in
                let driver = try driver(for: request.instance, environment: request.environment)
                defer {
                    DiskStore(home: request.home).release(
                        request.instance.configuration.additionalDisks.map(\.name), by: request.instance.directory)
                }
                return try await Agent(
                    options: .init(
                        instance: request.instance, home: request.home, environment: request.environment,
                        version: HostAgentCommand.version, startLimit: request.startLimit, sink: request.sink,
                        network: .init(
                            address: GuestNetwork.guest, gateway: GuestNetwork.host,
                            resolver: GuestNetwork.resolver),
                        driverName: QEMUFinder.driverName, guestLogs: guestLogs(of: request.instance),
                        registered: { scope in
                            manager(environment, account).registrations(of: request.instance.name)
                                .first { $0.scope == scope && $0.isFor(home: request.home.path, of: account) }?.terms
                        },
                        // This is still the original path if the program was replaced on disk.
                        upgrade: (binary: binary, arguments: Array(CommandLine.arguments.dropFirst())),
                        inheritedLock: inheritedLock),
                    driver: driver
                ).run()
            },
            endOrphan: { directory, force in try await endOrphan(directory, force: force) },
            orphan: { directory in (try? finder(directory).survivor())?.process.pid },
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
        // On hosts without launchd, the tests set HOSTAGENT_MANAGER to run this part against an emulator.
        if HostProcess.hasLaunchd || environment["HOSTAGENT_MANAGER"] == "launchd" {
            return LaunchdManager(account: account, environment: environment)
        }
        return SystemdManager(.init(environment: environment, account: account))
    }

    private static func paths(_ directory: InstanceDirectory) -> QEMUPaths {
        .init(
            directory: directory.path, disk: directory.disk, cidata: directory.cidata, serialLog: directory.serialLog,
            qmpSocket: directory.qmpSocket, channelSocket: directory.channelSocket, pidFile: directory.qemuPID,
            record: directory.guestRecord, errorLog: directory.qemuLog)
    }

    /// The logs of the console and of QEMU's standard error. A few lines of the latter are enough.
    private static func guestLogs(of instance: Instance) -> [BoundedLog] {
        [
            BoundedLog(path: instance.directory.serialLog, limit: instance.settings.consoleLogLimit),
            BoundedLog(path: instance.directory.qemuLog, limit: 1 << 20),
        ]
            + (instance.settings.network == .passt
                ? [BoundedLog(path: paths(instance.directory).networkLog, limit: 1 << 20)] : [])
    }

    // MARK: Guests without an agent

    /// Finds the guest of this directory: with the driver that its record names, otherwise with the configured driver.
    /// If the configuration is unreadable, that is QEMU.
    private static func finder(_ directory: InstanceDirectory) throws(HostError) -> any GuestFinder {
        if let record = GuestRecord.load(directory.guestRecord), record.driver != QEMUFinder.driverName,
            record.process.isAlive
        {
            throw HostError(
                .unavailable,
                "\(directory.guestRecord) names a guest of the driver \(InstanceName.quoted(record.driver))",
                hint: "use a hostagent that has this driver")
        }
        return QEMUFinder(paths(directory))
    }

    /// - Returns: false if there is no such guest.
    private static func endOrphan(_ directory: InstanceDirectory, force: Bool) async throws -> Bool {
        let finder = try finder(directory)
        finder.restoreSockets()
        guard let survivor = try finder.survivor() else { return false }
        let settings = (try? Instance(directory))?.settings ?? Settings()
        // In a unit of a user manager, the time to stop is limited.
        let grace =
            SystemdJob.scopeOfOwnUnit(of: directory.name).map {
                SystemdUnit.effectiveGrace(settings.stopGrace, scope: $0)
            } ?? settings.stopGrace
        let channel = try? await GuestChannel.open(socket: directory.channelSocket)
        defer { channel?.close() }
        let stop = OrphanStop(finder: finder, survivor: survivor, times: StopTimes(grace: grace)) {
            channel?.send(.poweroff)
        }
        try await stop.run(force: force)
        for helper in survivor.record.helpers ?? [] { await helper.end(in: directory.path) }
        if let instance = try? Instance(directory) {
            DiskStore(home: LimaHome(path: directory.home)).release(
                instance.configuration.additionalDisks.map(\.name), by: directory)
        }
        return true
    }

    // MARK: Drivers

    private static func sourceFiles(_ environment: [String: String]) -> ImageCache {
        ImageCache(environment: environment, version: HostAgentCommand.version)
    }

    /// The account's cache directory (XDG base directories), and one beside the instances. The sandbox of a unit only
    /// allows writing to the directory of the instances.
    private static func cacheDirectories(_ instances: String, _ environment: [String: String]) -> [String] {
        let home = environment["HOME"] ?? HostProcess.account?.home ?? "/tmp"
        let cache = environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? home + "/.cache"
        return [cache + "/hostagent", instances + "/_config"]
    }

    private static func driver(
        for instance: Instance, environment: [String: String]
    ) throws(HostError) -> QEMUDriver {
        let (directory, configuration) = (instance.directory, instance.configuration)
        if !configuration.refusals.isEmpty {
            throw HostError(
                .badConfiguration,
                "\"\(directory.name)\" cannot run on this host:"
                    + configuration.refusals.map { "\n- \($0)" }.joined(),
                hint: "change \(directory.limaYAML)")
        }
        var machine = QEMUMachine(
            name: instance.name.text, architecture: configuration.architecture,
            processor: configuration.processor, cpus: configuration.cpus, memory: configuration.memory,
            boot: try boot(instance), paths: paths(directory),
            diskFormat: try InstanceDisk(directory)?.formatName ?? "qcow2")
        machine.network = instance.settings.network
        return QEMUDriver(
            machine: machine, accelerator: instance.settings.accelerator,
            environment: environment, configurationDigests: instance.digests.fixedAtStart,
            cacheDirectories: cacheDirectories(directory.home, environment),
            minimumVersion: configuration.minimumQEMU, isNewer: Version.isNewer,
            makeReady: { report in
                try SnapshotJournal(directory: directory.path).requireWhole(instance.name)
                let preparation = Preparation(
                    configuration, sources: instance.settings.sources, provider: sourceFiles(environment))
                try await preparation.make(in: directory, report: report)
                // The choice among several images is on record now.
                let made = try Instance(directory)
                let boot = try boot(made)
                if case .uefi = boot {
                    try await Firmware.find(configuration.architecture).makeVariables(at: directory.firmwareVariables)
                }
                let disks = try await DiskStore(home: LimaHome(path: directory.home))
                    .claim(configuration.additionalDisks.map(\.name), for: directory)
                var devices: [any QEMUDevice] = disks.enumerated().map { index, disk in
                    AdditionalDrive(index: index, path: disk.file, format: disk.format ?? "raw")
                }
                if configuration.containerd != nil {
                    try await preparation.makeContainerd(in: directory, report: report)
                    devices.append(FileDrive(path: directory.containerdArchive, serial: GuestSeed.Containerd.serial))
                }
                devices += (0..<configuration.mountPorts).map {
                    MountPort(number: $0, socket: directory.mountSocket($0))
                }
                if configuration.mountType == .virtioFS {
                    let shared = try await SharedDirectories.start(
                        configuration.mounts, of: directory, searchPath: environment["PATH"])
                    devices += shared.map {
                        SharedDirectory(
                            number: $0, socket: directory.sharingSocket($0),
                            queueSize: configuration.mounts[$0].virtioFSQueueSize ?? Mount.defaultQueueSize)
                    }
                }
                return PreparedParts(
                    boot: boot, diskFormat: try InstanceDisk(directory)?.formatName ?? "qcow2",
                    additionalDevices: devices)
            })
    }

    private static func boot(_ instance: Instance) throws(HostError) -> Boot {
        let (directory, configuration) = (instance.directory, instance.configuration)
        if let direct = instance.image.directBoot {
            return .kernel(
                path: directory.kernel, initrd: direct.initrd == nil ? nil : directory.initrd,
                commandLine: direct.commandLine)
        }
        if configuration.legacyBIOS, configuration.architecture == .x86_64 { return .bios }
        let firmware = try Firmware.find(configuration.architecture)
        return .uefi(code: firmware.code, variables: directory.firmwareVariables)
    }
}

/// The threads of NIO.
enum EventLoops {
    /// One loop is enough for a socket, a monitor and a channel. More loops only cost memory.
    static func keepSmall() { NIOSingletons.groupLoopCountSuggestion = 1 }
}
