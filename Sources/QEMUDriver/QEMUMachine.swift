import GuestDriver
import HostModel

/// The machine QEMU runs, as a value. QEMU's command line is a function of it.
package struct QEMUMachine: Sendable {
    package var name: String
    package var architecture: Architecture
    package var accelerator: Accelerator
    /// QEMU's `-cpu`; nil means the accelerator's default.
    package var processor: String?
    package var cpus: Int
    /// Bytes.
    package var memory: Int
    package var boot: Boot
    /// The asset tag of the machine's chassis; nil for none.
    var assetTag: String?
    package var paths: QEMUPaths
    /// QEMU's name of the format of the disk.
    package var diskFormat: String
    package var additionalDevices: [any QEMUDevice] = []
    /// The port of 127.0.0.1 that leads to the guest's port 22.
    package var sshLocalPort: Int
    /// What has the machine's network on the host.
    package var network = NetworkBackend.user
    /// The options by which the machine connects again to a network that has ended; nil if it cannot.
    var networkReconnection: String?

    package init(
        name: String, architecture: Architecture, accelerator: Accelerator = .tcg, processor: String?, cpus: Int,
        memory: Int, boot: Boot, paths: QEMUPaths, diskFormat: String = "qcow2", sshLocalPort: Int = 0
    ) {
        self.name = name
        self.architecture = architecture
        self.accelerator = accelerator
        self.processor = processor
        self.cpus = cpus
        self.memory = memory
        self.boot = boot
        self.paths = paths
        self.diskFormat = diskFormat
        self.sshLocalPort = sshLocalPort
    }

    /// The parts of the machine, in the order of the command line.
    package var devices: [any QEMUDevice] {
        [
            Monitor(socket: paths.qmpSocket), boot, Disk(path: paths.disk, format: diskFormat),
            SeedDrive(path: paths.cidata),
            GuestNetwork(
                sshLocalPort: sshLocalPort,
                socket: network == .passt ? paths.networkSocket : nil, reconnection: networkReconnection),
            ChannelPort(socket: paths.channelSocket), SerialConsole(log: paths.serialLog),
        ] + additionalDevices
    }

    /// The `-cpu` of an accelerator: the host's own processor where it can be passed through, otherwise everything QEMU
    /// can emulate, because newer distributions need x86-64-v2. The architected algorithm of Arm's pointer authentication
    /// takes half of the time of an emulated guest, so QEMU's own replaces it (qemu/docs/system/arm/cpu-features.rst).
    package static func defaultProcessor(_ accelerator: Accelerator, _ architecture: Architecture) -> String {
        switch (accelerator, architecture) {
        case (.tcg, .aarch64): "max,pauth-impdef=on"
        case (.tcg, _): "max"
        default: "host"
        }
    }

    /// The name of QEMU's binary.
    package static func binary(_ architecture: Architecture) -> String { "qemu-system-\(architecture.rawValue)" }

    /// QEMU's arguments (qemu(1)), without the program.
    package var arguments: [String] {
        let model = architecture == .x86_64 ? "q35" : "virt"
        let isShared = additionalDevices.contains { $0 is SharedDirectory }
        let memoryBackend = isShared ? ",memory-backend=\(SharedDirectory.memory)" : ""
        var arguments = [
            "-name", "lima-\(Self.escape(name))",
            "-nodefaults", "-no-user-config",
            "-machine", "\(model)\(memoryBackend),accel=\(accelerator.rawValue)",
            "-cpu", processor ?? Self.defaultProcessor(accelerator, architecture),
            "-smp", String(cpus),
            "-m", "\(memory >> 20)M",
            "-display", "none",
            // No spawn=deny: it would also forbid QEMU to start its own helpers.
            "-sandbox", "on",
            // Keeps the process when the guest powers off or panics, so a later agent can ask what happened.
            "-no-shutdown", "-action", "panic=pause",
        ]
        if isShared {
            arguments += [
                "-object", "memory-backend-memfd,id=\(SharedDirectory.memory),size=\(memory >> 20)M,share=on",
            ]
        }
        if let assetTag { arguments += ["-smbios", "type=3,asset=\(Self.escape(assetTag))"] }
        return arguments + devices.flatMap(\.arguments)
    }

    /// Puts a notice for the guest where the guest can read it: on the command line of a kernel that QEMU loads, otherwise
    /// in the tables that the firmware hands over.
    package mutating func tell(_ notice: BootNotice) {
        boot = boot.adding(notice.kernelArguments)
        if case .kernel = boot { return }
        assetTag = notice.assetTag
    }

    /// Reads facts from the arguments of a QEMU process; nil when this program did not start it.
    package static func facts(ofArguments arguments: [String]) -> (accelerator: Accelerator, sshLocalPort: Int)? {
        guard arguments.contains(where: { $0.hasSuffix("name=\(ChannelPort.name)") }) else { return nil }
        let machine = arguments.first { $0.contains(",accel=") }
        guard let accelerator = machine?.split(separator: "=").last.flatMap({ Accelerator(rawValue: String($0)) }),
            let port = GuestNetwork.sshLocalPort(inArguments: arguments)
        else { return nil }
        return (accelerator, port)
    }

    /// Escapes a value for QEMU's option syntax, where a comma ends a value and a doubled comma stands for one.
    package static func escape(_ text: String) -> String { text.replacing(",", with: ",,") }
}
