import Foundation
import HostModel
import Templates

/// What a guest configures itself from: the files of its cidata volume (cloud-init's NoCloud source, and beside it
/// what guests without cloud-init read), as a function of the configuration.
package struct GuestSeed: Sendable, Equatable {
    package var hostname: String
    package var user: GuestUser
    package var authorizedKeys: [String]
    /// In order.
    package var environment: [(name: String, value: String)]
    /// In order: the mode, and the script's text.
    package var scripts: [(mode: String, text: String)]
    package var network: Network
    /// Nothing is asked of the guest: no channel, no boot script.
    package var plain: Bool

    /// For guests that set their address themselves.
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
        scripts: [(mode: String, text: String)], network: Network, plain: Bool
    ) {
        // A host name may hold letters, digits and dashes (RFC 1123).
        hostname = "lima-" + String(instance.text.map { $0 == "." || $0 == "_" ? "-" : $0 }.prefix(58))
        self.user = user
        self.authorizedKeys = authorizedKeys
        self.environment = environment
        self.scripts = scripts
        self.network = network
        self.plain = plain
    }

    package static func == (left: Self, right: Self) -> Bool { left.files == right.files }

    /// Path in the volume and content.
    package var files: [String: String] {
        let userData = "#cloud-config\n" + json(cloudConfiguration)
        var files = [
            "user-data": userData,
            "hostagent.env": shellVariables,
            "environment": environment.map { "\($0.name)=\($0.value)\n" }.joined(),
            "environment.sh": environment.map { "export \($0.name)=\(ShellWord.quoted($0.value))\n" }.joined(),
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
        // cloud-init applies a seed once for each instance-id: a changed configuration is a new one.
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
            // bootcmd runs early at every boot: the channel is there before anything can fail.
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
        // JSON is YAML, and needs no quoting rules of its own. Strings and numbers always encode.
        return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) + "\n" } ?? ""
    }
}
