import Foundation
import HostModel
import Templates

/// The files of a guest's cidata volume, from which the guest configures itself, as a function of the configuration.
/// The root of the volume holds cloud-init's NoCloud source. What this program's scripts read is in a directory of its
/// own, because guests that Lima made look for Lima's files in the root.
package struct GuestSeed: Sendable {
    package var hostname: String
    package var user: GuestUser
    package var authorizedKeys: [String]
    /// The variables of every login and of the scripts, in order.
    package var environment: [(name: String, value: String)] = []
    /// Variables of the scripts alone.
    package var scriptVariables: [(name: String, value: String)] = []
    /// The mode and the text of each script, in the order in which they run.
    package var scripts: [(mode: String, text: String)] = []
    package var dataFiles: [DataFile] = []
    package var documentEdits: [DocumentEdit] = []
    package var disks: [Disk] = []
    /// The host's directories, in the order in which they are mounted.
    package var mounts: [Mount] = []
    /// How the guest mounts them first.
    package var mountType = MountType.reverseSSHFS
    /// Names that the guest resolves by itself, and what they stand for.
    package var hosts: [(name: String, target: String)] = []
    /// A name of the IANA time zone database; empty leaves the guest's zone alone.
    package var timeZone = ""
    package var upgradesPackages = false
    package var authorities = Authorities()
    package var containerd: Containerd?
    package var network: Network
    /// The guest gets no channel and no boot script.
    package var plain: Bool
    /// Differs between an instance and its clones.
    package var cloneIdentity = ""
    /// Bytes of the guest's disk. A disk that has grown has to be set up again.
    package var diskSize = 0

    /// The addresses for guests that configure their network themselves.
    package struct Network: Sendable, Equatable {
        package var address: String
        package var gateway: String
        package var resolver: String

        package init(address: String, gateway: String, resolver: String) {
            self.address = address
            self.gateway = gateway
            self.resolver = resolver
        }
    }

    package struct Attributes: Sendable, Equatable {
        var owner: String
        var permissions: String

        package init(owner: String, permissions: String) {
            self.owner = owner
            self.permissions = permissions
        }
    }

    /// A file that is written at every boot.
    package struct DataFile: Sendable, Equatable {
        var path: String
        var content: String
        var attributes: Attributes
        var overwrites: Bool

        package init(path: String, content: String, attributes: Attributes, overwrites: Bool) {
            self.path = path
            self.content = content
            self.attributes = attributes
            self.overwrites = overwrites
        }
    }

    /// A change of a structured file by an expression of yq.
    package struct DocumentEdit: Sendable, Equatable {
        var path: String
        var expression: String
        var format: String
        var attributes: Attributes

        package init(path: String, expression: String, format: String, attributes: Attributes) {
            self.path = path
            self.expression = expression
            self.format = format
            self.attributes = attributes
        }
    }

    /// A disk beside the guest's own that the guest mounts.
    package struct Disk: Sendable, Equatable {
        /// By which the guest finds its device.
        var serial: String
        var name: String
        /// As in `mkfs.ext4`.
        var fileSystem: String
        /// For mkfs, without spaces in them.
        var arguments: [String]

        package init(serial: String, name: String, fileSystem: String, arguments: [String]) {
            self.serial = serial
            self.name = name
            self.fileSystem = fileSystem
            self.arguments = arguments
        }
    }

    /// containerd, from an archive that the guest has as a disk.
    package struct Containerd: Sendable, Equatable {
        /// The serial number of that disk.
        package static let serial = "hostagent-containerd"
        var system: Bool
        var user: Bool
        /// Changes with the archive.
        var version: String

        package init(system: Bool, user: Bool, version: String) {
            self.system = system
            self.user = user
            self.version = version
        }
    }

    /// Certificates of authorities that the guest trusts.
    package struct Authorities: Sendable, Equatable {
        var removesDefaults: Bool
        /// In PEM.
        var certificates: [String]

        package init(removesDefaults: Bool = false, certificates: [String] = []) {
            self.removesDefaults = removesDefaults
            self.certificates = certificates
        }
    }

    package init(
        instance: InstanceName, user: GuestUser, authorizedKeys: [String], network: Network, plain: Bool
    ) {
        hostname = instance.guestHostname
        self.user = user
        self.authorizedKeys = authorizedKeys
        self.network = network
        self.plain = plain
    }

    /// The directory of the files that are not cloud-init's.
    private static let own = "hostagent/"

    /// A volume with its identity.
    package struct Volume: Sendable, Equatable {
        /// The contents of the files, by their paths in the volume.
        package var files: [String: String]
        /// cloud-init's instance-id: it applies a seed once for each. It changes with everything that only cloud-init does.
        package var identity: String
    }

    package var volume: Volume {
        var files = [
            "user-data": "#cloud-config\n" + json(CloudConfiguration(self)),
            // The script of a guest that Lima made runs boot.sh from every volume with this label.
            "boot.sh": "#!/bin/sh\n# This volume is hostagent's, not Lima's.\nexit 0\n",
            Self.own + "env": shellVariables,
            Self.own + "environment": environment.map { "\($0.name)=\($0.value)\n" }.joined(),
            Self.own + "environment.sh": (environment + scriptVariables)
                .map { ShellWord.export($0.name, $0.value) + "\n" }.joined(),
            Self.own + "authorized_keys": authorizedKeys.map { $0 + "\n" }.joined(),
        ]
        for (name, text) in Templates.guestScripts { files[Self.own + name] = plain ? "#!/bin/sh\n" : text }
        if !plain {
            files.merge(provisioning) { $1 }
            files[Self.own + "disks"] = disks.map {
                ([$0.serial, $0.name, $0.fileSystem] + $0.arguments).joined(separator: " ") + "\n"
            }.joined()
            files[Self.own + "mounts"] =
                MountList(
                    mounts.enumerated().map { .init(number: $0, type: mountType, mount: $1) }
                ).text
            files[Self.own + "hosts"] = hosts.map { "\($0.name) \($0.target)\n" }.joined()
            for (name, text) in Templates.guestUnits { files[Self.own + name] = text }
        }
        // What the boot script does at every boot needs no cloud-init.
        let once = ["user-data": files["user-data"] ?? "", "facts": "\(hostname) \(diskSize) \(cloneIdentity)"]
        let identity = "iid-" + SeedVolume.digest(of: once).prefix(16)
        files["meta-data"] = json(["instance-id": identity, "local-hostname": hostname])
        files[Self.own + "identity"] = identity + "\n"
        return Volume(files: files, identity: identity)
    }

    private var provisioning: [String: String] {
        var files: [String: String] = [:]
        var counts: [String: Int] = [:]
        func next(_ mode: String) -> String {
            counts[mode, default: 0] += 1
            let number = counts[mode, default: 0]
            return "\(Self.own)provision/\(mode)/\(number < 10 ? "00" : number < 100 ? "0" : "")\(number)"
        }
        for script in scripts { files[next(script.mode)] = script.text }
        for file in dataFiles {
            let name = next("data")
            files[name] = file.content
            files[name + ".env"] = Self.variables(
                attributes(file.attributes, file.path) + [("OVERWRITE", file.overwrites ? "true" : "false")])
        }
        for edit in documentEdits {
            let name = next("yq")
            files[name] = edit.expression
            files[name + ".env"] = Self.variables(attributes(edit.attributes, edit.path) + [("FORMAT", edit.format)])
        }
        return files
    }

    private func attributes(_ attributes: Attributes, _ path: String) -> [(String, String)] {
        [("FILE", path), ("OWNER", attributes.owner), ("PERMISSIONS", attributes.permissions)]
    }

    private static func variables(_ pairs: [(String, String)]) -> String {
        pairs.map { "HOSTAGENT_\($0.0)=\(ShellWord.quoted($0.1))\n" }.joined()
    }

    private var shellVariables: String {
        Self.variables([
            ("USER", user.name), ("UID", String(user.uid)), ("HOME", user.home), ("HOSTNAME", hostname),
            ("ADDRESS", network.address), ("GATEWAY", network.gateway), ("DNS", network.resolver),
            ("TIMEZONE", timeZone), ("DISK_SIZE", String(diskSize)), ("CLONE", cloneIdentity),
            ("CONTAINERD", containerd?.version ?? ""), ("CONTAINERD_SERIAL", Containerd.serial),
            ("CONTAINERD_SYSTEM", containerd?.system == true ? "true" : ""),
            ("CONTAINERD_USER", containerd?.user == true ? "true" : ""),
        ])
    }

    private func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // JSON is also YAML, and needs no special quoting rules. Strings and numbers can always be encoded.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
    }
}
