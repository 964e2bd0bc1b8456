import Foundation
import HostModel
import Templates

/// The files of a guest's cidata volume, from which the guest configures itself, as a function of the configuration.
/// The volume holds cloud-init's NoCloud source and the files that guests without cloud-init read.
package struct GuestSeed: Sendable, Equatable {
    package var hostname: String
    package var user: GuestUser
    package var authorizedKeys: [String]
    /// The variables of every login and of the scripts, in order.
    package var environment: [(name: String, value: String)]
    /// Variables of the scripts alone.
    package var scriptVariables: [(name: String, value: String)]
    /// The mode and the text of each script, in the order in which they run.
    package var scripts: [(mode: String, text: String)]
    package var network: Network
    /// The guest gets no channel and no boot script.
    package var plain: Bool

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

    package init(
        instance: InstanceName, user: GuestUser, authorizedKeys: [String], environment: [(name: String, value: String)],
        scriptVariables: [(name: String, value: String)] = [],
        scripts: [(mode: String, text: String)], network: Network, plain: Bool
    ) {
        hostname = instance.guestHostname
        self.user = user
        self.authorizedKeys = authorizedKeys
        self.environment = environment
        self.scriptVariables = scriptVariables
        self.scripts = scripts
        self.network = network
        self.plain = plain
    }

    package static func == (left: Self, right: Self) -> Bool { left.files == right.files }

    /// The contents of the files, by their paths in the volume.
    package var files: [String: String] {
        let userData = "#cloud-config\n" + json(cloudConfiguration)
        var files = [
            "user-data": userData,
            "hostagent.env": shellVariables,
            "environment": environment.map { "\($0.name)=\($0.value)\n" }.joined(),
            "environment.sh": (environment + scriptVariables).map { ShellWord.export($0.name, $0.value) + "\n" }
                .joined(),
            "authorized_keys": authorizedKeys.map { $0 + "\n" }.joined(),
            "boot.sh": plain ? "#!/bin/sh\n" : Templates.guestBoot,
            "channel.sh": plain ? "#!/bin/sh\n" : Templates.guestChannel,
        ]
        var counts: [String: Int] = [:]
        for script in scripts where !plain {
            counts[script.mode, default: 0] += 1
            let number = counts[script.mode, default: 0]
            files["provision/\(script.mode)/\(number < 10 ? "00" : number < 100 ? "0" : "")\(number)"] = script.text
        }
        // cloud-init applies a seed once for each instance-id, so a changed configuration gets a new id.
        let identity = SeedVolume.digest(of: files).prefix(16)
        files["meta-data"] = json(["instance-id": "iid-\(identity)", "local-hostname": hostname])
        return files
    }

    private var shellVariables: String {
        let variables = [
            ("USER", user.name), ("UID", String(user.uid)), ("HOME", user.home), ("HOSTNAME", hostname),
            ("ADDRESS", network.address), ("GATEWAY", network.gateway), ("DNS", network.resolver),
        ]
        return variables.map { "HOSTAGENT_\($0.0)=\(ShellWord.quoted($0.1))\n" }.joined()
    }

    // MARK: cloud-init

    /// Where a guest with cloud-init mounts this volume.
    private static let mountPoint = "/run/hostagent/cidata"
    private static let mount =
        "mkdir -p \(mountPoint); mountpoint -q \(mountPoint) || mount -o ro LABEL=cidata \(mountPoint)"

    private struct CloudConfiguration: Encodable {
        struct User: Encodable {
            var name: String
            var gecos: String
            var uid: Int
            var homedir: String
            var shell: String
            var sudo = "ALL=(ALL) NOPASSWD:ALL"
            var lock_passwd = true
            var ssh_authorized_keys: [String]
        }
        struct File: Encodable {
            var path: String
            var content: String
            var permissions = "0755"
            var owner = "root:root"
        }
        var users: [User]
        var manage_etc_hosts = true
        var ssh_pwauth = false
        var bootcmd: [[String]]?
        var write_files: [File]?
    }

    private var cloudConfiguration: CloudConfiguration {
        var configuration = CloudConfiguration(users: [
            .init(
                name: user.name, gecos: user.comment, uid: user.uid, homedir: user.home, shell: user.shell,
                ssh_authorized_keys: authorizedKeys)
        ])
        if !plain {
            let log = "/var/log/cloud-init-output.log"
            // bootcmd runs early at every boot, so the channel is there before anything can fail.
            configuration.bootcmd = [["sh", "-c", "\(Self.mount); sh \(Self.mountPoint)/boot.sh channel \(log)"]]
            configuration.write_files = [
                .init(
                    path: "/var/lib/cloud/scripts/per-boot/00-hostagent",
                    content: "#!/bin/sh\n\(Self.mount)\nexec sh \(Self.mountPoint)/boot.sh all \(log)\n")
            ]
        }
        return configuration
    }

    private func json(_ value: some Encodable) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // JSON is also YAML, and needs no special quoting rules. Strings and numbers can always be encoded.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
    }
}
