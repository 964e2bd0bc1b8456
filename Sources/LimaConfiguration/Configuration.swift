import HostModel

/// An instance's configuration with every default filled in. The driver and the agent work from it.
package struct Configuration: Sendable, Equatable {
    package var architecture: Architecture
    package var cpus: Int
    /// Bytes.
    package var memory: Int
    /// Bytes.
    package var disk: Int
    package var image: Image
    /// The value of QEMU's `-cpu`; nil means the accelerator's default.
    package var processor: String?
    /// Whether an x86 guest boots from its disk by BIOS instead of UEFI.
    package var legacyBIOS: Bool
    /// The port of 127.0.0.1 that leads to the guest's SSH server. If nil, every start chooses a free port.
    package var sshLocalPort: Int?
    package var portForwards: [PortForward]
    package var user: GuestUser
    /// In the order of the file.
    package var environment: [Variable]
    /// The values of `param`. Scripts have each as the variable `PARAM_` and its name.
    package var parameters: [Variable]
    /// Whether the guest only needs an SSH server. There is no channel and no provisioning.
    package var plain: Bool
    /// Shown to the user after a successful start.
    package var message: String
    package var provisioning: [ProvisioningScript]
    package var probes: [Probe]

    /// What the machine boots.
    package struct Image: Sendable, Equatable {
        package var disk: SourceFile
        package var directBoot: DirectBoot?
    }

    /// A kernel that QEMU loads itself. No firmware boots from the disk.
    package struct DirectBoot: Sendable, Equatable {
        package var kernel: SourceFile
        package var commandLine: String
        package var initrd: SourceFile?
    }

    /// A file of the host and the expected digest of its content.
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
        /// When a script runs, and as which user. These are Lima's modes that are scripts, in the order they run.
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
