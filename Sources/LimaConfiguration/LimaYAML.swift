import HostModel

/// The files that configure an instance. A key of an earlier one wins, as in Lima.
package struct ConfigurationLayers: Sendable {
    /// `_config/override.yaml`
    package var override: ConfigurationText?
    /// The instance's `lima.yaml`.
    package var main: ConfigurationText
    /// `_config/default.yaml`
    package var defaults: ConfigurationText?

    package init(_ main: ConfigurationText, override: ConfigurationText? = nil, defaults: ConfigurationText? = nil) {
        self.main = main
        self.override = override
        self.defaults = defaults
    }
}

/// A configuration that was read, merged, checked and completed.
package struct ResolvedConfiguration: Sendable {
    /// What the driver and the agent work from.
    package let configuration: Configuration
    /// Sentences with places, about what has no effect.
    package let warnings: [String]
    package let digests: KeyDigests
    /// What the files say together.
    let node: ConfigurationNode

    /// The same for other programs. It is made when it is asked for, because an agent has no use for it.
    package var document: ConfigurationDocument {
        ConfigurationDocument(node.entries, LimaYAML.keys).adding([
            "vmType": "qemu", "os": "Linux", "arch": configuration.architecture.rawValue,
        ])
    }
}

/// `lima.yaml`: its table of keys, and the way from texts to a `Configuration`: parse, merge, read by the table with
/// variables expanded, complete.
package enum LimaYAML {
    /// The table of all keys at the top level, in the order of Lima's documentation.
    package static let keys: [any KeyDeclaration] =
        MachineKeys.all + ImageKeys.all + StorageKeys.all + AccessKeys.all + GuestKeys.all + NetworkKeys.all

    /// - Parameter name: the instance, for the variables `{{.Name}}` and `{{.Hostname}}`.
    /// - Throws: `HostError` with `.badConfiguration`. It lists every fault with file, line and column. A scalar that
    ///   another file replaces is not looked at.
    package static func resolve(
        _ layers: ConfigurationLayers, for name: InstanceName, host: HostFacts
    ) throws(HostError) -> ResolvedConfiguration {
        let main = try ConfigurationNode(parsing: layers.main)
        let reading = Reading(host: host)
        let node = try merged(main, layers, reading.findings)
        reading.variables.values = ["Name": name.text, "Hostname": name.guestHostname]
        let root = ConfigurationValue(path: "", node: node, reading: reading)
        let configuration = root.record(keys) { complete($0, root) }
        try reading.findings.throwIfFaulty(file: layers.main.file)
        guard let configuration else {
            throw HostError(.badConfiguration, "\(layers.main.file) cannot be read as a configuration")
        }
        return ResolvedConfiguration(
            configuration: configuration, warnings: reading.findings.warnings,
            digests: KeyDigests(of: node, keys),
            node: node)
    }

    private static func merged(
        _ main: ConfigurationNode, _ layers: ConfigurationLayers, _ findings: Findings
    ) throws(HostError) -> ConfigurationNode {
        var nodes = [main]
        if let text = layers.override, !text.isBlank { nodes.insert(try ConfigurationNode(parsing: text), at: 0) }
        if let text = layers.defaults, !text.isBlank { nodes.append(try ConfigurationNode(parsing: text)) }
        let merged = Merge(findings: findings).merged(nodes, .record(keys))
        return ConfigurationNode(place: main.place, content: merged.content)
    }

    /// The order matters: parameters and the user come before the texts that may name them.
    private static func complete(_ fields: Fields, _ root: ConfigurationValue) -> Configuration? {
        let reading = root.reading
        let parameters = fields[GuestKeys.param] ?? []
        for parameter in parameters { reading.variables.values["Param.\(parameter.name)"] = parameter.value }
        let user = fields[AccessKeys.user] ?? GuestUser(AccessKeys.GivenUser(), reading)
        reading.variables.values.merge(
            ["User": user.name, "UID": String(user.uid), "Home": user.home]
        ) { _, new in new }

        var refusals = [fields[MachineKeys.vmType] ?? nil, fields[MachineKeys.os] ?? nil].compactMap { $0 }
        if fields[MachineKeys.tpm] { refusals.append("tpm: hostagent gives guests no TPM") }
        let architecture = fields[MachineKeys.arch] ?? reading.host.architecture
        if !architecture.isSupported {
            refusals.append("arch: \(architecture.rawValue): hostagent runs x86_64 and aarch64 guests only")
        }
        let qemu = fields[MachineKeys.vmOpts] ?? nil
        let processors = qemu?.processors ?? fields[MachineKeys.cpuType] ?? [:]
        let provisioning = fields[ProvisioningKeys.provision] ?? []
        let isPlain = fields[GuestKeys.plain]
        if !user.passwordlessSudo, !isPlain {
            fields.given(AccessKeys.user)?.fault("passwordlessSudo: false needs plain: true; provisioning uses sudo")
        }
        let mounts = fields[MountKeys.mounts] ?? []
        for mount in mounts where mount.mountPoint == user.home || user.home.hasPrefix(mount.mountPoint + "/") {
            fields.given(MountKeys.mounts)?.fault(
                "mountPoint: \(mount.mountPoint) would hide the home of the guest's user, \(user.home)")
        }
        let ssh = fields[AccessKeys.ssh]
        guard let images = images(fields, root, architecture) else { return nil }
        return Configuration(
            architecture: architecture,
            cpus: fields[MachineKeys.cpus],
            memory: fields[MachineKeys.memory],
            disk: fields[MachineKeys.disk],
            additionalDisks: fields[StorageKeys.additionalDisks] ?? [],
            // As in Lima, a plain guest has none.
            mounts: isPlain ? [] : mounts,
            mountType: fields[MountKeys.mountType] ?? nil,
            mountInotify: fields[MountKeys.mountInotify],
            images: images,
            processor: processors[architecture],
            legacyBIOS: fields[MachineKeys.firmware] ?? false,
            minimumQEMU: qemu?.minimumVersion,
            sshLocalPort: ssh?.localPort,
            ssh: ssh?.options ?? .init(),
            portForwards: fields[PortForwardKeys.portForwards] ?? ForwardPlan(),
            user: user,
            environment: fields[GuestKeys.env] ?? [],
            parameters: parameters,
            plain: isPlain,
            message: fields[GuestKeys.message],
            provisioning: provisioning.compactMap { if case .script(let script) = $0 { script } else { nil } },
            dataFiles: provisioning.compactMap { if case .dataFile(let file) = $0 { file } else { nil } },
            documentEdits: provisioning.compactMap { if case .documentEdit(let edit) = $0 { edit } else { nil } },
            propagatesProxies: fields[GuestKeys.propagateProxyEnv],
            upgradesPackages: fields[GuestKeys.upgradePackages],
            timeZone: fields[GuestKeys.timezone] ?? (isPlain ? "" : nil),
            authorities: fields[GuestKeys.caCerts] ?? .init(),
            hosts: fields[NetworkKeys.hostResolver] ?? [],
            refusals: refusals,
            probes: fields[ProvisioningKeys.probes] ?? [],
            copiesToHost: fields[CopyKeys.copyToHost] ?? [],
            containerd: ContainerdKeys.resolved(fields, architecture, plain: isPlain))
    }

    /// The images for the architecture, in the order in which they are tried. As in Lima, the first decides the variant.
    private static func images(
        _ fields: Fields, _ root: ConfigurationValue, _ architecture: Architecture
    ) -> [Configuration.Image]? {
        guard let value = fields.given(ImageKeys.images) else {
            root.fault("images: missing; expected a list with at least one image")
            return nil
        }
        let faultsBefore = root.reading.findings.faults.count
        let images = (fields[ImageKeys.images] ?? []).filter {
            $0.architecture == nil || $0.architecture == architecture
        }
        guard let first = images.first else {
            if root.reading.findings.faults.count == faultsBefore {
                value.fault("no image for \(architecture.rawValue)")
            }
            return nil
        }
        return images.filter {
            $0.variant == first.variant && $0.architectureVariant == first.architectureVariant
        }.map(\.image)
    }

    /// The names under `param` of a template.
    /// - Throws: `HostError` if the text is not YAML.
    package static func parameterNames(in text: ConfigurationText) throws(HostError) -> [String] {
        let node = try ConfigurationNode(parsing: text)
        return node.entries.first { $0.key == "param" }?.value.entries.map(\.key) ?? []
    }

    /// The place in `override.yaml` of a scalar that wins over the instance's own file.
    /// - Parameter path: keys joined by dots.
    /// - Throws: `HostError` if that file is not YAML.
    package static func place(of path: String, inOverrideOf layers: ConfigurationLayers) throws(HostError) -> Place? {
        guard let text = layers.override, !text.isBlank else { return nil }
        var node = try ConfigurationNode(parsing: text)
        for key in path.split(separator: ".") {
            guard let next = node.entries.first(where: { $0.key == key })?.value, !next.isNull else { return nil }
            node = next
        }
        if case .scalar = node.content { return node.place }
        return nil
    }
}
