import Crypto
import Foundation
import HostModel
import HostOS
import Yams

/// Reads a `lima.yaml`: decodes it, validates it and fills in the defaults. All faults are reported at once.
package struct LimaYAML {
    /// The facts about the host that the defaults depend on.
    package struct Host: Sendable {
        package var architecture: Architecture
        package var userName: String
        package var uid: Int
        package var home: String

        package init(architecture: Architecture, userName: String, uid: Int, home: String) {
            self.architecture = architecture
            self.userName = userName
            self.uid = uid
            self.home = home
        }

        package static var current: Host {
            let account = HostProcess.account
            return Host(
                architecture: .host, userName: account?.name ?? "", uid: Int(HostProcess.uid),
                home: account?.home ?? "/")
        }
    }

    /// Keys that Lima knows and this program does not support yet.
    static let limaOnly: Set<String> = [
        "additionalDisks", "audio", "base", "caCerts", "containerd", "copyToHost", "dns",
        "guestInstallPrefix", "hostResolver", "minimumLimaVersion", "mountInotify", "mountType",
        "mountTypesUnsupported", "mounts", "nestedVirtualization", "networks", "os", "param",
        "propagateProxyEnv", "rosetta", "timezone", "upgradePackages", "video",
    ]
    static let known: Set<String> = [
        "arch", "cpuType", "cpus", "disk", "env", "firmware", "images", "memory", "message", "plain", "portForwards",
        "probes",
        "provision", "ssh", "user", "vmOpts", "vmType",
    ]

    /// Keys that also take effect for a running guest.
    private static let live: Set<String> = ["message", "portForwards"]

    /// A digest of the value of every top-level key that only takes effect at a start. Comments and layout do not
    /// change a digest.
    package static func digests(of text: String) -> [String: String] {
        let entries = (try? Yams.compose(yaml: text))?.mapping.map(Array.init) ?? []
        var digests: [String: String] = [:]
        for (key, value) in entries {
            guard let name = key.scalar?.string, known.contains(name), !live.contains(name) else { continue }
            var budget = 20_000
            var function = SHA256()
            feed(value, to: &function, &budget)
            // Without leading zeros, as version 0.1 kept them in records that are still compared with.
            digests[name] = function.finalize().prefix(8).map { String($0, radix: 16) }.joined()
        }
        return digests
    }

    /// Aliases are followed. The budget ends this for aliases that expand exponentially.
    private static func feed(_ node: Node, to function: inout SHA256, _ budget: inout Int) {
        budget -= 1
        guard budget > 0 else { return }
        switch node {
        case .scalar(let scalar): function.update(data: Data("s\(scalar.string.utf8.count) \(scalar.string)".utf8))
        case .mapping(let mapping):
            function.update(data: Data("m\(mapping.count) ".utf8))
            for (key, value) in mapping {
                feed(key, to: &function, &budget)
                feed(value, to: &function, &budget)
            }
        case .sequence(let sequence):
            function.update(data: Data("l\(sequence.count) ".utf8))
            for element in sequence { feed(element, to: &function, &budget) }
        case .alias(let alias): function.update(data: Data("a\(alias.anchor.rawValue)".utf8))
        }
    }

    private let host: Host
    let findings = Findings()

    /// - Parameter file: the name used in messages.
    /// - Throws: `HostError` with `.badConfiguration`. It lists every fault with line and column.
    package static func load(_ text: String, file: String, host: Host) throws(HostError) -> Loaded<Configuration> {
        try LimaYAML(host: host).load(text, file: file)
    }

    private init(host: Host) { self.host = host }

    private func load(_ text: String, file: String) throws(HostError) -> Loaded<Configuration> {
        let root = try YAMLValue.root(of: text, file: file, findings: findings)
        let fields = root.fields(known: Self.known, ignored: Self.limaOnly)
        if let type = fields["vmType"], let word = type.text(), word != "qemu" {
            let known = ["vz", "wsl2", "ext", "krunkit"].contains(word) ? "is not supported here" : "is not known"
            type.fault("\"\(word)\" \(known); expected qemu")
        }
        let architecture = fields["arch"]?.word(Architecture.self) ?? host.architecture
        let plain = fields["plain"]?.boolean() ?? false
        let image = image(fields["images"], root: root, architecture: architecture)
        let configuration = Configuration(
            architecture: architecture,
            // Lima's defaults: 4 processors, 4 GiB, 100 GiB.
            cpus: fields["cpus"]?.integer(in: 1...255) ?? 4,
            memory: fields["memory"]?.size(in: 32 << 20...16 << 40) ?? 4 << 30,
            disk: fields["disk"]?.size(in: 1 << 20...64 << 40) ?? 100 << 30,
            image: image ?? Configuration.Image(disk: .init(path: "")),
            processor: processor(fields, architecture: architecture),
            legacyBIOS: fields["firmware"]?.fields(known: ["legacyBIOS"], ignored: ["images"])["legacyBIOS"]?.boolean()
                ?? false,
            sshLocalPort: sshPort(fields["ssh"]),
            portForwards: portForwards(fields["portForwards"]),
            user: user(fields["user"]),
            environment: environment(fields["env"]),
            plain: plain,
            message: fields["message"]?.text() ?? "",
            provisioning: provisioning(fields["provision"]),
            probes: probes(fields["probes"]))
        try findings.throwIfFaulty(file: file)
        let warnings = findings.warnings.sorted().map { "\(file):\($0.line):\($0.column): \($0.message)" }
        return Loaded(value: configuration, warnings: warnings)
    }

    /// The value of `vmOpts.qemu.cpuType`, or of the deprecated `cpuType`. Both map an architecture to a processor.
    private func processor(_ fields: [String: YAMLValue], architecture: Architecture) -> String? {
        let options = fields["vmOpts"]?.fields(known: ["qemu"], ignored: ["vz", "wsl2"])
        let qemu = options?["qemu"]?.fields(known: ["cpuType"], ignored: ["minimumVersion"])
        guard let types = qemu?["cpuType"] ?? fields["cpuType"] else { return nil }
        let chosen = types.entries().first { $0.key == architecture.rawValue }
        return chosen?.value.line()
    }

    // MARK: Images

    private func image(
        _ value: YAMLValue?, root: YAMLValue, architecture: Architecture
    ) -> Configuration.Image? {
        guard let value else {
            root.fault("images: missing; expected a list with at least one image")
            return nil
        }
        var chosen: Configuration.Image?
        let elements = value.elements()
        for element in elements {
            let fields = element.fields(known: ["location", "arch", "digest", "kernel", "initrd"])
            let matches = fields["arch"].map { $0.word(Architecture.self) == architecture } ?? true
            guard let disk = sourceFile(fields, in: element) else { continue }
            var directBoot: Configuration.DirectBoot?
            if let kernel = fields["kernel"] {
                let kernelFields = kernel.fields(known: ["location", "arch", "digest", "cmdline"])
                if let file = sourceFile(kernelFields, in: kernel) {
                    directBoot = .init(kernel: file, commandLine: kernelFields["cmdline"]?.line() ?? "")
                }
            }
            if let initrd = fields["initrd"] {
                let file = sourceFile(initrd.fields(known: ["location", "arch", "digest"]), in: initrd)
                if fields["kernel"] == nil { initrd.fault("an initrd needs a kernel beside it") }
                directBoot?.initrd = file
            }
            if matches, chosen == nil { chosen = .init(disk: disk, directBoot: directBoot) }
        }
        if chosen == nil, findings.faults.isEmpty {
            value.fault("no image for \(architecture.rawValue)")
        }
        return chosen
    }

    private func sourceFile(_ fields: [String: YAMLValue], in value: YAMLValue) -> Configuration.SourceFile? {
        let digest = fields["digest"].flatMap(digest)
        guard let location = fields["location"] else {
            value.fault("location: missing; expected a path or file:// address")
            return nil
        }
        guard let text = location.line() else { return nil }
        let path: String
        if text.hasPrefix("file://") {
            path = String(text.dropFirst(7))
        } else if text.hasPrefix("~/") {
            path = host.home + text.dropFirst(1)
        } else if text.contains("://") {
            location.fault("\(text) is to be downloaded, which hostagent does not do yet; expected a path or file://")
            return nil
        } else {
            path = text
        }
        guard path.hasPrefix("/"), !path.contains("\0") else {
            location.fault("expected an absolute path, found \(InstanceName.quoted(text))")
            return nil
        }
        return .init(path: path, digest: digest)
    }

    private func digest(_ value: YAMLValue) -> Configuration.Digest? {
        guard let text = value.line() else { return nil }
        let parts = text.split(separator: ":", maxSplits: 1)
        let lengths: [Configuration.Digest.Algorithm: Int] = [.sha256: 64, .sha512: 128]
        guard parts.count == 2, let algorithm = Configuration.Digest.Algorithm(rawValue: String(parts[0])),
            parts[1].count == lengths[algorithm], parts[1].allSatisfy(\.isHexDigit)
        else {
            value.fault(
                "expected sha256: and 64 hexadecimal digits, or sha512: and 128, found "
                    + InstanceName.quoted(text))
            return nil
        }
        return .init(algorithm: algorithm, hex: parts[1].lowercased())
    }

    // MARK: Access

    private func sshPort(_ value: YAMLValue?) -> Int? {
        let fields = value?.fields(
            known: ["localPort"],
            ignored: ["address", "loadDotSSHPubKeys", "forwardAgent", "forwardX11", "forwardX11Trusted"])
        let port = fields?["localPort"]?.integer(in: 0...65535) ?? 0
        return port == 0 ? nil : port
    }

    private func user(_ value: YAMLValue?) -> GuestUser {
        let fields = value?.fields(known: ["name", "comment", "home", "shell", "uid"]) ?? [:]
        // As in Lima: the user name of the host if it is valid in a guest, otherwise "lima". Nobody logs in as root.
        let hostName = Self.isUserName(host.userName) && host.userName != "root" ? host.userName : "lima"
        var name = hostName
        if let field = fields["name"], let text = field.line() {
            if Self.isUserName(text), text != "root" {
                name = text
            } else {
                field.fault("\(InstanceName.quoted(text)) is not a user name a guest can have")
            }
        }
        var home = "/home/\(name).guest"
        if let field = fields["home"], let text = field.line() {
            if text.hasPrefix("/"), !text.contains(where: { $0 == ":" || $0 == "'" || $0 == "\n" }) {
                home = text
            } else {
                field.fault("expected an absolute path without colons and quotes")
            }
        }
        var shell = "/bin/bash"
        if let field = fields["shell"], let text = field.line() {
            if text.hasPrefix("/") { shell = text } else { field.fault("expected an absolute path") }
        }
        let uid = fields["uid"]?.integer(in: 1...65533) ?? (1000...65533 ~= host.uid ? host.uid : 1000)
        let comment = fields["comment"]?.line() ?? ""
        return .init(name: name, comment: comment.filter { $0 != ":" }, uid: uid, home: home, shell: shell)
    }

    /// useradd(8): at most 32 lower case letters, digits, dashes and underscores. The first is not a digit or a dash.
    private static func isUserName(_ text: String) -> Bool {
        let first = text.utf8.first.map { 97...122 ~= $0 || $0 == 95 } ?? false
        return first && text.utf8.count <= 32
            && text.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 || $0 == 95 || $0 == 45 }
    }

    // MARK: Environment and scripts

    private func environment(_ value: YAMLValue?) -> [Configuration.Variable] {
        (value?.entries() ?? []).compactMap { name, value in
            guard let text = value.line() else { return nil }
            let isName =
                !name.isEmpty && !(name.first?.isNumber ?? true)
                && name.utf8.allSatisfy { 65...90 ~= $0 || 97...122 ~= $0 || 48...57 ~= $0 || $0 == 95 }
            guard isName else {
                value.fault("\(InstanceName.quoted(name)) is not a variable's name")
                return nil
            }
            return .init(name: name, value: text)
        }
    }

    private func provisioning(_ value: YAMLValue?) -> [Configuration.ProvisioningScript] {
        (value?.elements() ?? []).compactMap { element in
            let fields = element.fields(
                known: ["mode", "script"],
                ignored: [
                    "skipDefaultDependencyResolution", "file", "playbook", "content", "overwrite", "owner", "path",
                    "permissions", "expression", "format",
                ])
            let mode = fields["mode"].map { $0.text() ?? "" } ?? "system"
            if ["data", "yq", "ansible"].contains(mode) {
                findings.warn(element.node.mark, "\(element.path): hostagent does not have mode \(mode) yet, skipped")
                return nil
            }
            guard
                let known = fields["mode"]?.word(Configuration.ProvisioningScript.Mode.self)
                    ?? (fields["mode"] == nil ? .system : nil)
            else { return nil }
            guard let script = fields["script"]?.text(), !script.isEmpty else {
                element.fault("script: missing; expected the text of a script that begins with #!")
                return nil
            }
            return .init(mode: known, script: withInterpreter(script))
        }
    }

    private func probes(_ value: YAMLValue?) -> [Configuration.Probe] {
        (value?.elements() ?? []).compactMap { element in
            let fields = element.fields(known: ["mode", "description", "script", "hint"], ignored: ["file"])
            if let mode = fields["mode"], let word = mode.text(), word != "readiness" {
                mode.fault("expected readiness, found \(InstanceName.quoted(word))")
            }
            guard let script = fields["script"]?.text(), !script.isEmpty else {
                element.fault("script: missing; expected the text of a script that begins with #!")
                return nil
            }
            return .init(
                description: fields["description"]?.line() ?? "probe", script: withInterpreter(script),
                hint: fields["hint"]?.text()?.trimmed ?? "")
        }
    }

    /// A script without `#!` runs with sh, in every guest.
    private func withInterpreter(_ script: String) -> String {
        let text = script.hasSuffix("\n") ? script : script + "\n"
        return text.hasPrefix("#!") ? text : "#!/bin/sh\n" + text
    }
}

extension YAMLValue {
    /// Text without line ends or other control characters.
    func line() -> String? {
        guard let text = text() else { return nil }
        guard text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 }) else {
            fault("expected one line, found a line end or control character")
            return nil
        }
        return text
    }
}
