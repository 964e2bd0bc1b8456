import HostModel

/// An instance's configuration with every default filled in: what the driver and the agent work from.
package struct Configuration: Sendable, Equatable {
    package var architecture: Architecture
    package var cpus: Int
    /// Bytes.
    package var memory: Int
    /// Bytes.
    package var disk: Int
    package var image: Image
    /// QEMU's `-cpu`; nil takes the accelerator's default.
    package var processor: String?
    /// An x86 guest boots from its disk by BIOS, not UEFI.
    package var legacyBIOS: Bool
    /// The port of 127.0.0.1 that leads to the guest's SSH server; nil lets every start choose a free one.
    package var sshLocalPort: Int?
    package var portForwards: [PortForward]
    package var user: GuestUser
    /// In the file's order.
    package var environment: [Variable]
    /// Nothing is asked of the guest but an SSH server: no channel, no provisioning.
    package var plain: Bool
    /// Shown to the person after a successful start.
    package var message: String
    package var provisioning: [ProvisioningScript]
    package var probes: [Probe]

    /// What the machine boots.
    package struct Image: Sendable, Equatable {
        package var disk: SourceFile
        package var directBoot: DirectBoot?
    }

    /// A kernel that QEMU loads itself, instead of firmware that boots from the disk.
    package struct DirectBoot: Sendable, Equatable {
        package var kernel: SourceFile
        package var commandLine: String
        package var initrd: SourceFile?
    }

    /// A file of the host, with what its content must hash to.
    package struct SourceFile: Sendable, Equatable {
        package var path: String
        package var digest: Digest?
    }

    package struct Digest: Sendable, Equatable {
        package enum Algorithm: String, Sendable, CaseIterable {
            case sha256, sha512
        }
        package var algorithm: Algorithm
        /// Lower case.
        package var hex: String
    }

    package struct Variable: Sendable, Equatable {
        package var name: String
        package var value: String

        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    package struct ProvisioningScript: Sendable, Equatable {
        /// When and as whom: the modes of Lima that are scripts, in the order they run.
        package enum Mode: String, Sendable, CaseIterable {
            case boot, dependency, system, user
        }
        package var mode: Mode
        package var script: String
    }

    package struct Probe: Sendable, Equatable {
        package var description: String
        package var script: String
        package var hint: String
    }
}

/// What `hostagent.yaml` holds.
package struct Settings: Sendable, Equatable {
    /// Seconds the guest gets to shut down before it is ended without being asked.
    package var stopGrace = 90
    package var keepAlive = KeepAlive.onFailure
    /// nil: probe what the host can do.
    package var accelerator: Accelerator?
    /// Instances whose units this one's comes after: they are started before it and stopped after it.
    package var after: [InstanceName] = []
    package var before: [InstanceName] = []
    /// Bytes that the guest's console may take on the host's disk; the newest are kept.
    package var consoleLogLimit = 16 << 20
    /// Bytes that the agent's event log may take.
    package var eventLogLimit = 16 << 20

    package init() {}
}

/// A file that was read: what it says, and what was found on the way that is no fault.
package struct Loaded<Value: Sendable>: Sendable {
    package var value: Value
    package var warnings: [String]
}
