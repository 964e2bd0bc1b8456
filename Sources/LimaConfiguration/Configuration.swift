import HostModel

/// An instance's configuration with every default filled in. The driver and the agent work from it.
package struct Configuration: Sendable, Equatable {
    /// The version of Lima whose files are understood.
    package static var limaVersion: String { MachineKeys.limaVersion }

    package var architecture: Architecture
    package var cpus: Int
    /// Bytes.
    package var memory: Int
    /// Bytes.
    package var disk: Int
    package var additionalDisks: [AdditionalDisk]
    /// The host's directories that the guest has. One within another comes after it.
    package var mounts: [Mount]
    /// How many ports for mounts the machine has. A guest without boot scripts can mount nothing.
    package var mountPorts: Int { plain ? 0 : Mount.ports(forMounts: mounts.count) }
    /// How they are to be mounted; nil means that hostagent chooses.
    package var mountType: MountType?
    /// Whether the guest's programs are told what the host changes in the mounts that the guest may write to.
    package var mountInotify: Bool
    /// The first that can be had is used; at least one.
    package var images: [Image]
    /// The value of QEMU's `-cpu`; nil means the accelerator's default.
    package var processor: String?
    /// Whether an x86 guest boots from its disk by BIOS instead of UEFI.
    package var legacyBIOS: Bool
    /// The oldest version of QEMU that may run the guest.
    package var minimumQEMU: String?
    /// The port of 127.0.0.1 that leads to the guest's SSH server. If nil, every start chooses a free port.
    package var sshLocalPort: Int?
    package var ssh: SSHOptions
    package var portForwards: ForwardPlan
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
    package var dataFiles: [DataFile]
    package var documentEdits: [DocumentEdit]
    /// Whether the guest has the host's proxy variables.
    package var propagatesProxies: Bool
    /// Whether the guest's packages are upgraded when it is set up.
    package var upgradesPackages: Bool
    /// A name of the IANA time zone database; nil means the host's zone.
    package var timeZone: String?
    package var authorities: Authorities
    /// Names that the guest resolves by itself.
    package var hosts: [HostAlias]
    /// What this host's drivers must refuse at start: sentences.
    package var refusals: [String]
    package var probes: [Probe]
    package var copiesToHost: [HostCopy]
    package var containerd: Containerd?

    /// The image that an instance was made from; the first one if that is not known.
    package func image(madeFrom sources: [Settings.Source]) -> Image {
        images.first { image in sources.contains { $0.location == image.disk.location.description } } ?? images[0]
    }

    /// The web addresses of all files that may be used.
    package var allAddresses: [String] {
        let files = images.flatMap { [$0.disk, $0.directBoot?.kernel, $0.directBoot?.initrd] } + [containerd?.archive]
        return files.compactMap { if case .address(let address)? = $0?.location { address } else { nil } }
    }

    /// containerd and its tools, installed in the guest.
    package struct Containerd: Sendable, Equatable {
        /// A tar archive that is unpacked under /usr/local.
        package var archive: SourceFile
        /// Whether it runs as a service of the guest.
        package var system: Bool
        /// Whether it runs as a service of the guest's user, without root.
        package var user: Bool
    }

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

    /// A file that an instance is made from, and the expected digest of its content.
    package struct SourceFile: Sendable, Equatable {
        package enum Location: Sendable, Equatable, CustomStringConvertible {
            /// An absolute path of this host.
            case file(String)
            /// An `http://` or `https://` address.
            case address(String)

            package var description: String {
                switch self {
                case .file(let text), .address(let text): text
                }
            }
        }
        package var location: Location
        package var digest: Digest?

        package init(location: Location, digest: Digest?) {
            self.location = location
            self.digest = digest
        }
    }

    package struct Digest: Sendable, Equatable, CustomStringConvertible {
        package enum Algorithm: String, Sendable, CaseIterable {
            case sha256, sha512
        }
        package var algorithm: Algorithm
        /// Lower case.
        package var hex: String

        package init(algorithm: Algorithm, hex: String) {
            self.algorithm = algorithm
            self.hex = hex
        }

        /// `sha256:` or `sha512:` and 64 or 128 hexadecimal digits; nil for other text.
        package init?(_ text: String) {
            let parts = text.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, let algorithm = Algorithm(rawValue: String(parts[0])),
                parts[1].utf8.count == (algorithm == .sha256 ? 64 : 128),
                parts[1].utf8.allSatisfy({ 48...57 ~= $0 || 97...102 ~= $0 || 65...70 ~= $0 })
            else { return nil }
            self.init(algorithm: algorithm, hex: parts[1].lowercased())
        }

        package var description: String { "\(algorithm.rawValue):\(hex)" }
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

    /// A disk beside the instance's own, which exists independently of it.
    package struct AdditionalDisk: Sendable, Equatable {
        package var name: InstanceName
        /// Whether an empty disk gets a file system, and the guest mounts it under `/mnt/lima-NAME`.
        package var isFormatted: Bool
        /// As in `mkfs.ext4`.
        package var fileSystem: String
        /// For mkfs.
        package var arguments: [String]
    }

    /// A file that is written into the guest at every boot.
    package struct DataFile: Sendable, Equatable {
        package var path: String
        package var content: String
        package var attributes: FileAttributes
        /// Whether a file that is there already is replaced.
        package var overwrites: Bool
    }

    /// A change of a structured file in the guest, by an expression of yq.
    package struct DocumentEdit: Sendable, Equatable {
        package var path: String
        package var expression: String
        /// yq's name of the format, or `auto`.
        package var format: String
        package var attributes: FileAttributes
    }

    package struct FileAttributes: Sendable, Equatable {
        /// `USER` or `USER:GROUP`.
        package var owner: String
        /// Octal digits.
        package var permissions: String
    }

    /// Certificates of authorities that the guest trusts.
    package struct Authorities: Sendable, Equatable {
        /// Whether those of the distribution are not trusted.
        package var removesDefaults = false
        /// Absolute paths of this host, each with certificates in PEM.
        package var files: [String] = []
        /// Certificates in PEM.
        package var certificates: [String] = []

        package init() {}
    }

    /// A name and what it stands for: an address, or another name.
    package struct HostAlias: Sendable, Equatable {
        package var name: String
        package var target: String
    }

    package struct SSHOptions: Sendable, Equatable {
        /// Whether the account's own public keys open the guest, too.
        package var loadsOwnKeys = false
        package var forwardsAgent = false
        package var forwardsX11 = false
        package var forwardsX11Trusted = false

        package init() {}
    }

    package struct Probe: Sendable, Equatable {
        package var description: String
        package var script: String
        package var hint: String
    }
}
