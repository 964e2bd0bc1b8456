import ArgumentParser
import HostModel
import HostOS
import LimaConfiguration

/// The flags of Lima that change a `lima.yaml`: that of an instance which is made, or of one that is edited.
struct TemplateFlags: ParsableArguments {
    @Option(help: "The number of processors.") var cpus: Int?
    @Option(help: ArgumentHelp("The memory: GiB, or a size such as 512MiB.", valueName: "size")) var memory: String?
    @Option(help: ArgumentHelp("The disk: GiB, or a size such as 20GiB.", valueName: "size")) var disk: String?
    @Option(help: "The port of 127.0.0.1 that leads to the guest's SSH server.") var sshPort: Int?
    @Option(help: ArgumentHelp("Forward a port: HOST:GUEST, with ,static=true as in Lima.", valueName: "ports"))
    var portForward: [String] = []
    @Option(help: ArgumentHelp("Mount a directory; with :w at its end, writable.", valueName: "directory"))
    var mount: [String] = []
    @Option(help: ArgumentHelp("Mount these directories and no others.", valueName: "directory"))
    var mountOnly: [String] = []
    @Flag(help: "Mount no directories.") var mountNone = false
    @Option(help: ArgumentHelp("How directories are mounted: reverse-sshfs or virtiofs.", valueName: "type"))
    var mountType: String?
    @Flag(help: "Tell the guest of changes in mounted directories.") var mountInotify = false
    @Option(help: ArgumentHelp("A further network: lima:NAME or vzNAT.", valueName: "network")) var network: [String] =
        []
    @Option(help: ArgumentHelp("A name server, in the place of the host's.", valueName: "address")) var dns: [String] =
        []
    @Option(help: ArgumentHelp("Set a parameter that the template has.", valueName: "name=value")) var param: [String] =
        []
    @Option(help: ArgumentHelp("Set one value, as in edit --set.", valueName: "key=value")) var set: [String] = []

    private enum Change {
        case value(key: String, String)
        case list(key: String, [String], replacing: Bool)
    }

    /// The text with the values of the flags.
    /// - Throws: `HostError` with `.usage` for a flag that cannot be applied.
    func applied(to text: ConfigurationText) throws(HostError) -> ConfigurationText {
        var result = text.text
        for change in try changes(for: text) {
            switch change {
            case .value(let key, let value): result = try LimaYAML.setting(key, to: value, in: result)
            case .list(let key, let elements, let replacing):
                result = try LimaYAML.adding(elements, to: key, replacing: replacing, in: result)
            }
        }
        return ConfigurationText(result, file: text.file)
    }

    /// The keys that the flags set, where each has one value.
    func keys(in text: ConfigurationText) throws(HostError) -> [String] {
        try changes(for: text).compactMap { if case .value(let key, _) = $0 { key } else { nil } }
    }

    private func changes(for text: ConfigurationText) throws(HostError) -> [Change] {
        var changes: [Change] = []
        func value(_ key: String, _ value: String?) {
            if let value { changes.append(.value(key: key, value)) }
        }
        value("cpus", cpus.map(String.init))
        value("memory", memory.map(Self.size))
        value("disk", disk.map(Self.size))
        value("ssh.localPort", sshPort.map(String.init))
        value("mountType", mountType.map(YAMLText.quoted))
        value("mountInotify", mountInotify ? "true" : nil)
        if mountNone { changes.append(.list(key: "mounts", [], replacing: true)) }
        for (directories, replacing) in [(mountOnly, true), (mount, false)] where !directories.isEmpty {
            changes.append(.list(key: "mounts", try directories.map(Self.mount), replacing: replacing))
        }
        if !network.isEmpty { changes.append(.list(key: "networks", try network.map(Self.network), replacing: false)) }
        if !dns.isEmpty {
            value("hostResolver.enabled", "false")
            changes.append(.list(key: "dns", dns.map(YAMLText.quoted), replacing: false))
        }
        if !portForward.isEmpty {
            changes.append(.list(key: "portForwards", try portForward.map(Self.forward), replacing: false))
        }
        for assignment in param {
            let (name, given) = try Self.split(assignment, "--param", trimmed: false)
            guard try LimaYAML.parameterNames(in: text).contains(name) else {
                throw HostError(
                    .usage, "--param: the template has no parameter \(InstanceName.quoted(name))",
                    hint: "it has to be under param already, because its scripts have to use it")
            }
            guard !given.unicodeScalars.contains(where: { $0.value < 32 || $0.value == 127 || $0.value == 0xFFFD })
            else {
                throw HostError(
                    .usage,
                    "--param: the value of \(name) has a line end, a control character or bytes that are not UTF-8",
                    hint: "write it into the file, under param")
            }
            value("param.\(name)", YAMLText.quoted(given))
        }
        for assignment in set {
            let (key, given) = try Self.split(assignment, "--set", trimmed: true)
            value(key, given)
        }
        return changes
    }

    /// As arguments for another hostagent process.
    var words: [String] {
        let pairs: [(String, String?)] = [
            ("--cpus", cpus.map(String.init)), ("--memory", memory), ("--disk", disk),
            ("--ssh-port", sshPort.map(String.init)), ("--mount-type", mountType),
        ]
        let lists: [(String, [String])] = [
            ("--port-forward", portForward), ("--mount", mount), ("--mount-only", mountOnly), ("--network", network),
            ("--dns", dns), ("--param", param), ("--set", set),
        ]
        return pairs.flatMap { name, value in value.map { [name, $0] } ?? [] }
            + (mountNone ? ["--mount-none"] : []) + (mountInotify ? ["--mount-inotify"] : [])
            + lists.flatMap { name, values in values.flatMap { [name, $0] } }
    }

    // MARK: Values

    /// In Lima, a number alone is in GiB.
    private static func size(_ text: String) -> String { Double(text) == nil ? text : text + "GiB" }

    private static func mount(_ text: String) throws(HostError) -> String {
        let isWritable = text.hasSuffix(":w")
        let given = isWritable ? String(text.dropLast(2)) : text
        guard given != ".", !given.isEmpty else {
            throw HostError(.usage, "--mount takes a directory, not \(InstanceName.quoted(text))")
        }
        let path =
            given.hasPrefix("/") || given.hasPrefix("~") ? given : (HostProcess.workingDirectory ?? "") + "/" + given
        return "{location: \(YAMLText.quoted(path)), writable: \(isWritable)}"
    }

    private static func network(_ text: String) throws(HostError) -> String {
        if text == "vzNAT" { return "{vzNAT: true}" }
        guard text.hasPrefix("lima:"), text.count > 5 else {
            throw HostError(.usage, "--network takes lima:NAME or vzNAT, not \(InstanceName.quoted(text))")
        }
        return "{lima: \(YAMLText.quoted(String(text.dropFirst(5))))}"
    }

    private static func forward(_ text: String) throws(HostError) -> String {
        let parts = text.split(separator: ",").map(String.init)
        let ports = (parts.first ?? "").split(separator: ":").map { Int($0) }
        let isStatic = parts.dropFirst().first == "static=true"
        guard ports.count == 2, let host = ports[0], let guest = ports[1], parts.count == 1 || isStatic else {
            throw HostError(
                .usage, "--port-forward takes HOSTPORT:GUESTPORT, not \(InstanceName.quoted(text))")
        }
        return "{hostPort: \(host), guestPort: \(guest)\(isStatic ? ", static: true" : "")}"
    }

    /// Lima writes assignments as yq does: `.cpus = 4`.
    private static func split(
        _ text: String, _ flag: String, trimmed: Bool
    ) throws(HostError) -> (key: String, value: String) {
        guard let mark = text.firstIndex(of: "=") else {
            throw HostError(.usage, "\(flag) takes KEY=VALUE, not \(InstanceName.quoted(text))")
        }
        let key = String(text[..<mark]).trimmed
        let value = String(text[text.index(after: mark)...])
        return (key.hasPrefix(".") ? String(key.dropFirst()) : key, trimmed ? value.trimmed : value)
    }
}

/// The flags of Lima that only count when an instance is made.
struct CreationFlags: ParsableArguments {
    @Option(help: "The kind of machine.") var vmType: String?
    @Option(help: "The processor architecture.") var arch: String?
    @Option(help: "Only images of this variant.") var imageVariant: String?
    @Option(help: "Only images of this variant of the architecture.") var archVariant: String?
    @Option(help: ArgumentHelp("user, system, user+system or none.", valueName: "mode")) var containerd: String?
    @Option(help: ArgumentHelp("The shell of the guest's user.", valueName: "path")) var shell: String?
    @Flag(help: "Nothing in the guest but an SSH server is needed.") var plain = false

    /// - Throws: `HostError` with `.usage` for a flag that cannot be applied.
    func applied(to text: ConfigurationText) throws(HostError) -> ConfigurationText {
        var text = text
        for (key, value) in [("variant", imageVariant), ("archVariant", archVariant)] {
            if let value { text = try LimaYAML.keepingImages(whose: key, is: value, in: text) }
        }
        var changes: [(key: String, value: String)] = []
        if let vmType { changes.append(("vmType", YAMLText.quoted(vmType))) }
        if let arch { changes.append(("arch", YAMLText.quoted(arch))) }
        if let shell { changes.append(("user.shell", YAMLText.quoted(shell))) }
        if plain { changes.append(("plain", "true")) }
        if let containerd {
            let modes = Set(containerd.split(separator: "+"))
            guard modes.isSubset(of: ["user", "system"]) || containerd == "none" else {
                throw HostError(
                    .usage, "--containerd \(InstanceName.quoted(containerd)) is not known",
                    hint: "user, system, user+system or none")
            }
            for mode in ["user", "system"] {
                changes.append(("containerd.\(mode)", modes.contains(Substring(mode)) ? "true" : "false"))
            }
        }
        var result = text.text
        for change in changes { result = try LimaYAML.setting(change.key, to: change.value, in: result) }
        return ConfigurationText(result, file: text.file)
    }

    /// As arguments for another hostagent process.
    var words: [String] {
        let pairs: [(String, String?)] = [
            ("--vm-type", vmType), ("--arch", arch), ("--image-variant", imageVariant),
            ("--arch-variant", archVariant), ("--containerd", containerd), ("--shell", shell),
        ]
        return pairs.flatMap { name, value in value.map { [name, $0] } ?? [] } + (plain ? ["--plain"] : [])
    }
}
