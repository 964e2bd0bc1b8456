import HostModel

/// What QEMU is to run, as a value; its command line is a function of it.
package struct QEMUMachine: Sendable, Equatable {
    package var name: String
    package var architecture: Architecture
    package var accelerator: Accelerator
    /// QEMU's `-cpu`; nil takes the accelerator's default.
    package var processor: String?
    package var cpus: Int
    /// Bytes.
    package var memory: Int
    package var boot: Boot
    package var disk: Disk
    /// The volume the guest configures itself from.
    package var cidata: String
    /// The port of 127.0.0.1 that leads to the guest's port 22.
    package var sshLocalPort: Int
    package var serialLog: String
    package var qmpSocket: String
    package var channelSocket: String

    package init(
        name: String, architecture: Architecture, accelerator: Accelerator = .tcg, processor: String?, cpus: Int,
        memory: Int, boot: Boot, disk: Disk, cidata: String, sshLocalPort: Int = 0, serialLog: String,
        qmpSocket: String, channelSocket: String
    ) {
        self.name = name
        self.architecture = architecture
        self.accelerator = accelerator
        self.processor = processor
        self.cpus = cpus
        self.memory = memory
        self.boot = boot
        self.disk = disk
        self.cidata = cidata
        self.sshLocalPort = sshLocalPort
        self.serialLog = serialLog
        self.qmpSocket = qmpSocket
        self.channelSocket = channelSocket
    }

    package enum Boot: Sendable, Equatable {
        case kernel(path: String, initrd: String?, commandLine: String)
        /// The machine's own BIOS.
        case bios
        /// Firmware in two flash images; the second is the guest's own and is written.
        case uefi(code: String, variables: String)
    }

    package struct Disk: Sendable, Equatable {
        package var path: String
        package var format: String

        package init(path: String, format: String) {
            self.path = path
            self.format = format
        }
    }

    /// The network every guest of Lima knows: its address, the host's and the resolver's.
    package enum Network {
        package static let range = "192.168.5.0/24"
        package static let guest = "192.168.5.15"
        package static let host = "192.168.5.2"
        package static let resolver = "192.168.5.3"
    }

    /// What the guest's network is called in QEMU's monitor.
    static let networkID = "net"

    /// The name of the virtio-serial port that is the guest channel.
    package static let channelPort = "io.hostagent.channel.0"

    /// The `-cpu` of an accelerator: the host's own where there is one to pass through, else everything QEMU can do,
    /// for newer distributions need x86-64-v2.
    package static func defaultProcessor(_ accelerator: Accelerator) -> String {
        accelerator == .tcg ? "max" : "host"
    }

    /// The name of QEMU's binary.
    package static func binary(_ architecture: Architecture) -> String { "qemu-system-\(architecture.rawValue)" }

    /// QEMU's arguments (qemu(1)), without the program.
    package var arguments: [String] {
        let machine = architecture == .x86_64 ? "q35" : "virt"
        var line = [
            "-name", "lima-\(Self.escape(name))",
            "-nodefaults", "-no-user-config",
            "-machine", "\(machine),accel=\(accelerator.rawValue)",
            "-cpu", processor ?? Self.defaultProcessor(accelerator),
            "-smp", String(cpus),
            "-m", "\(memory >> 20)M",
            "-display", "none",
            // Without spawn=deny, which would forbid QEMU its own helpers.
            "-sandbox", "on",
            // A guest that powered off or panicked while no agent lived can still be asked what happened to it.
            "-no-shutdown", "-action", "panic=pause",
            "-chardev", "socket,id=qmp,path=\(Self.escape(qmpSocket)),server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
        ]
        switch boot {
        case .kernel(let path, let initrd, let commandLine):
            line += ["-kernel", path, "-append", commandLine]
            if let initrd { line += ["-initrd", initrd] }
        case .bios:
            break
        case .uefi(let code, let variables):
            line += [
                "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=\(Self.escape(code))",
                "-drive", "if=pflash,unit=1,format=raw,file=\(Self.escape(variables))",
            ]
        }
        line += [
            "-drive",
            "if=none,id=disk,format=\(disk.format),discard=unmap,detect-zeroes=unmap,file=\(Self.escape(disk.path))",
            "-device", "virtio-blk-pci,drive=disk,bootindex=1",
            "-drive", "if=none,id=cidata,format=raw,readonly=on,file=\(Self.escape(cidata))",
            "-device", "virtio-blk-pci,drive=cidata",
            "-netdev",
            "user,id=\(Self.networkID),net=\(Network.range),dhcpstart=\(Network.guest),"
                + "hostfwd=tcp:127.0.0.1:\(sshLocalPort)-:22",
            // No boot ROM: the guest does not boot from the network, and loading it takes time.
            "-device", "virtio-net-pci,netdev=\(Self.networkID),romfile=",
            "-device", "virtio-serial-pci",
            "-chardev", "socket,id=channel,path=\(Self.escape(channelSocket)),server=on,wait=off",
            "-device", "virtserialport,chardev=channel,name=\(Self.channelPort)",
            // Appending, so that the agent can cut it while QEMU writes.
            "-chardev", "file,id=serial,path=\(Self.escape(serialLog)),append=on",
            "-serial", "chardev:serial",
            "-device", "pvpanic-pci",
        ]
        return line
    }

    /// What the arguments of a QEMU that this program started say of it; nil for any other.
    package static func facts(ofArguments arguments: [String]) -> (accelerator: Accelerator, sshLocalPort: Int)? {
        guard arguments.contains(where: { $0.hasSuffix("name=\(channelPort)") }) else { return nil }
        let machine = arguments.first { $0.contains(",accel=") }
        let network = arguments.first { $0.hasPrefix("user,id=\(networkID),") }
        guard let accelerator = machine?.split(separator: "=").last.flatMap({ Accelerator(rawValue: String($0)) }),
            let forward = network?.firstRange(of: "hostfwd=tcp:127.0.0.1:"), let network,
            let port = Int(network[forward.upperBound...].prefix { $0.isNumber })
        else { return nil }
        return (accelerator, port)
    }

    /// These arguments of a process name this disk.
    package static func uses(disk: String, arguments: [String]) -> Bool {
        arguments.contains { $0.hasPrefix("if=none,id=disk,") && $0.hasSuffix(",file=" + escape(disk)) }
    }

    /// A value of QEMU's option syntax, in which a comma ends a value and a doubled one stands for itself.
    package static func escape(_ text: String) -> String { text.replacing(",", with: ",,") }
}
