import HostModel

/// A part of a machine that renders itself as arguments of QEMU (qemu(1)).
package protocol QEMUDevice: Sendable {
    var arguments: [String] { get }
}

/// The monitor: a Unix socket that speaks QMP.
struct Monitor: QEMUDevice {
    var socket: String

    var arguments: [String] {
        [
            "-chardev", "socket,id=qmp,path=\(QEMUMachine.escape(socket)),server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
        ]
    }
}

/// What the machine boots.
package enum Boot: QEMUDevice, Equatable {
    case kernel(path: String, initrd: String?, commandLine: String)
    /// The machine's own BIOS.
    case bios
    /// Firmware in two flash images. The second is the guest's own copy, and the guest writes to it.
    case uefi(code: String, variables: String)

    /// The same with more arguments for the kernel. Firmware boots with what is on the disk.
    func adding(_ kernelArguments: [String]) -> Boot {
        guard case .kernel(let path, let initrd, let commandLine) = self, !kernelArguments.isEmpty else { return self }
        return .kernel(
            path: path, initrd: initrd, commandLine: ([commandLine] + kernelArguments).joined(separator: " "))
    }

    package var arguments: [String] {
        switch self {
        case .kernel(let path, let initrd, let commandLine):
            ["-kernel", path, "-append", commandLine] + (initrd.map { ["-initrd", $0] } ?? [])
        case .bios: []
        case .uefi(let code, let variables):
            [
                "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=\(QEMUMachine.escape(code))",
                "-drive", "if=pflash,unit=1,format=raw,file=\(QEMUMachine.escape(variables))",
            ]
        }
    }
}

/// The guest's disk.
struct Disk: QEMUDevice {
    /// QEMU's name of the drive. Additional drives have a number behind it.
    static let id = "disk"

    var path: String
    var format: String

    var arguments: [String] {
        [
            "-drive",
            "if=none,id=\(Self.id),format=\(format),discard=unmap,detect-zeroes=unmap,file=\(QEMUMachine.escape(path))",
            "-device", "virtio-blk-pci,drive=\(Self.id),bootindex=1",
        ]
    }
}

/// A disk beside the guest's own.
package struct AdditionalDrive: QEMUDevice, Equatable {
    package var index: Int
    package var path: String
    package var format: String

    package init(index: Int, path: String, format: String) {
        self.index = index
        self.path = path
        self.format = format
    }

    package var arguments: [String] {
        [
            "-drive",
            "if=none,id=\(Disk.id)\(index),format=\(format),discard=unmap,detect-zeroes=unmap,"
                + "file=\(QEMUMachine.escape(path))",
            "-device", "virtio-blk-pci,drive=\(Disk.id)\(index),serial=\(AdditionalDiskSerial.text(index))",
        ]
    }
}

/// A file of the host that the guest reads as a whole disk.
package struct FileDrive: QEMUDevice, Equatable {
    /// The file on the host.
    package var path: String
    /// By which the guest finds it.
    package var serial: String

    package init(path: String, serial: String) {
        self.path = path
        self.serial = serial
    }

    package var arguments: [String] {
        [
            "-drive", "if=none,id=\(serial),format=raw,readonly=on,file=\(QEMUMachine.escape(path))",
            "-device", "virtio-blk-pci,drive=\(serial),serial=\(serial)",
        ]
    }
}

/// The volume the guest configures itself from.
struct SeedDrive: QEMUDevice {
    var path: String

    var arguments: [String] {
        [
            "-drive", "if=none,id=cidata,format=raw,readonly=on,file=\(QEMUMachine.escape(path))",
            "-device", "virtio-blk-pci,drive=cidata",
        ]
    }
}

/// The user-mode network. Its addresses are the same for every guest, as in Lima.
package struct GuestNetwork: QEMUDevice {
    package static let range = "192.168.5.0/24"
    static let guestAddress = IPAddress(192, 168, 5, 15)
    package static let guest = "\(guestAddress)"
    package static let host = "192.168.5.2"
    package static let resolver = "192.168.5.3"

    /// The network's name in QEMU's monitor.
    static let id = "net"

    /// The port of 127.0.0.1 that leads to the guest's port 22.
    var sshLocalPort: Int
    /// The socket of the process that has the network; nil if QEMU has it.
    var socket: String?
    /// The options by which QEMU connects to it again when it has ended.
    var reconnection: String?

    package var arguments: [String] {
        // No boot ROM: the guest does not boot from the network, and loading it takes time.
        let device = ["-device", "virtio-net-pci,netdev=\(Self.id),romfile="]
        guard let socket else {
            let network =
                "user,id=\(Self.id),net=\(Self.range),dhcpstart=\(Self.guest),hostfwd=\(Self.forward)\(sshLocalPort)-:22"
            return ["-netdev", network] + device
        }
        return [
            "-netdev",
            "stream,id=\(Self.id),server=off,addr.type=unix,addr.path=\(QEMUMachine.escape(socket))\(reconnection ?? "")",
            // Nothing uses it. It tells an agent that has lost its record which port leads to the guest.
            "-chardev", "null,id=\(Self.mark)\(sshLocalPort)",
        ] + device
    }

    private static let forward = "tcp:127.0.0.1:"
    private static let mark = "ssh-port-"

    /// Whether another process has the network, by the arguments of a QEMU process.
    static func isElsewhere(inArguments arguments: [String]) -> Bool {
        arguments.contains { $0.hasPrefix("stream,id=\(id),") }
    }

    /// Whether QEMU connects to another process that takes the place of the one before.
    static func reconnects(inArguments arguments: [String]) -> Bool {
        arguments.contains { $0.hasPrefix("stream,id=\(id),") && $0.contains(",reconnect") }
    }

    /// The port of 127.0.0.1 that leads to the guest's port 22, by the arguments of a QEMU process.
    static func sshLocalPort(inArguments arguments: [String]) -> Int? {
        let starts = ["user,id=\(id),": "hostfwd=\(forward)", "null,id=\(mark)": mark]
        for argument in arguments {
            for (start, before) in starts where argument.hasPrefix(start) {
                guard let range = argument.firstRange(of: before) else { continue }
                return Int(argument[range.upperBound...].prefix { $0.isNumber })
            }
        }
        return nil
    }
}

/// The virtio-serial port of the guest channel.
struct ChannelPort: QEMUDevice {
    /// The name of the virtio-serial port.
    static let name = "io.hostagent.channel.0"

    var socket: String

    var arguments: [String] {
        [
            "-device", "virtio-serial-pci",
            "-chardev", "socket,id=channel,path=\(QEMUMachine.escape(socket)),server=on,wait=off",
            "-device", "virtserialport,chardev=channel,name=\(Self.name)",
        ]
    }
}

/// The virtio-serial port of one of the host's directories that the guest has. What is sent there is SFTP.
package struct MountPort: QEMUDevice, Equatable {
    /// The ports of one virtio-serial device. It tells the guest of its ports in a queue of 32 messages and drops what does not
    /// fit (`send_control_msg` in QEMU's hw/char/virtio-serial-bus.c): with all 31 ports, guests do not learn that the host is
    /// connected to some of them.
    private static let portsOfDevice = Mount.portsTogether

    /// The number of the mount.
    package var number: Int
    package var socket: String

    package init(number: Int, socket: String) {
        self.number = number
        self.socket = socket
    }

    package var arguments: [String] {
        let device = "mounts\(number / Self.portsOfDevice)"
        let isFirst = number % Self.portsOfDevice == 0
        // The first port of a device is for a console.
        return (isFirst ? ["-device", "virtio-serial-pci,id=\(device),max_ports=\(Self.portsOfDevice + 1)"] : []) + [
            "-chardev", "socket,id=mount\(number),path=\(QEMUMachine.escape(socket)),server=on,wait=off",
            "-device", "virtserialport,bus=\(device).0,chardev=mount\(number),name=io.hostagent.mount.\(number)",
        ]
    }
}

/// One of the host's directories that the guest has by virtiofs. The server waits on the socket, and works in the memory of the
/// machine.
package struct SharedDirectory: QEMUDevice, Equatable {
    /// The number of the mount.
    package var number: Int
    package var socket: String
    package var queueSize: Int

    package init(number: Int, socket: String, queueSize: Int) {
        self.number = number
        self.socket = socket
        self.queueSize = queueSize
    }

    /// The name of the memory that the machine shares.
    static let memory = "memory"

    package var arguments: [String] {
        [
            "-chardev", "socket,id=shared\(number),path=\(QEMUMachine.escape(socket))",
            "-device",
            "vhost-user-fs-pci,chardev=shared\(number),tag=hostagent:\(number),queue-size=\(queueSize)",
        ]
    }
}

/// The guest's console, and the device by which its kernel reports a panic.
struct SerialConsole: QEMUDevice {
    var log: String

    var arguments: [String] {
        [
            // Append, so that the agent can truncate the log while QEMU writes.
            "-chardev", "file,id=serial,path=\(QEMUMachine.escape(log)),append=on",
            "-serial", "chardev:serial",
            "-device", "pvpanic-pci",
        ]
    }
}
