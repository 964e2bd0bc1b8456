import HostModel

/// How an instance shall be: one element of the document that `hostagent apply` reads.
package struct DesiredInstance: Sendable {
    package enum State: String, CaseIterable, Sendable {
        case present, started, stopped, restarted, absent
    }

    /// How far a change of the configuration is carried into a guest that runs.
    package enum Reach: String, CaseIterable, Sendable {
        /// The file is changed, and the agent is not told.
        case none
        /// What needs no restart counts at once.
        case live
        /// The guest is restarted if the change needs it.
        case restart
    }

    package var name: InstanceName
    package var state = Keys.state.fallback
    /// What a missing instance is made from: a file, an address, or the name of a template.
    package var template: String?
    /// Keys of `lima.yaml` with their values. Null removes a key.
    package var configuration: [ConfigurationNode.Entry] = []
    package var parameters: [(key: String, value: String)] = []
    package var reach = Keys.reach.fallback
    /// Whether a start is waited for until the guest is ready.
    package var waits = Keys.wait.fallback
    /// Seconds that a start may take; nil if only the agent's own limits apply.
    package var timeout: Int?
    /// Whether a guest is ended without being asked.
    package var force = Keys.force.fallback

    package init(name: InstanceName) { self.name = name }

    private enum Keys {
        static let name = Key("name", Form.instanceName)
        static let state = DefaultedKey("state", Form<State>.word, default: .present)
        static let template = Key("template", .line)
        static let config = Key("config", Form.configuration)
        static let param = Key("param", entries(of: Form<String>.text))
        static let reach = DefaultedKey("apply", Form<Reach>.word, default: .live)
        static let wait = DefaultedKey("wait", .boolean, default: true)
        static let timeout = Key("timeout", .duration(in: 1...86_400))
        static let force = DefaultedKey("force", .boolean, default: false)
        static let instances = Key(
            "instances",
            list(
                of: Form<DesiredInstance>.record(
                    [name, state, template, config, param, reach, wait, timeout, force], named: "instances",
                    Keys.read)))

        private static func read(_ fields: Fields, _ value: ConfigurationValue) -> DesiredInstance? {
            let hasName = fields.given(Keys.name) != nil
            guard let name = fields[Keys.name] else {
                if !hasName { value.fault("name: missing") }
                return nil
            }
            var desired = DesiredInstance(name: name)
            desired.state = fields[Keys.state]
            desired.template = fields[Keys.template]
            desired.configuration = fields[Keys.config] ?? []
            desired.parameters = fields[Keys.param] ?? []
            desired.reach = fields[Keys.reach]
            desired.waits = fields[Keys.wait]
            desired.timeout = fields[Keys.timeout]
            desired.force = fields[Keys.force]
            if desired.template != nil, desired.configuration.contains(where: { $0.key == "base" }) {
                value.fault("config: base cannot be given together with template")
            }
            return desired
        }
    }

    /// Reads the document of `hostagent apply`: a mapping with the list `instances`, in YAML or JSON.
    /// - Throws: `HostError` with `.badConfiguration`. It lists every fault with line and column.
    package static func read(_ text: ConfigurationText) throws(HostError) -> [DesiredInstance] {
        let reading = Reading(host: .unknown)
        let root = ConfigurationValue(path: "", node: try ConfigurationNode(parsing: text), reading: reading)
        let read: [DesiredInstance]? = root.record([Keys.instances]) { fields in
            if fields.given(Keys.instances) == nil { root.fault("instances: missing") }
            return fields[Keys.instances]
        }
        let instances = read ?? []
        var known: Set<InstanceName> = []
        for instance in instances where !known.insert(instance.name).inserted {
            root.fault("the instance \"\(instance.name)\" is in the list twice")
        }
        try reading.findings.throwIfFaulty(file: text.file)
        return instances
    }
}

extension DesiredInstance {
    /// The document for this instance alone, with another state, for a process of its owner.
    /// - Throws: `HostError` if it cannot be written as YAML.
    package func document(state: State, reach: Reach) throws(HostError) -> String {
        let place = Place(file: "", line: 1, column: 1)
        func entry(_ key: String, _ content: ConfigurationNode.Content) -> ConfigurationNode.Entry {
            .init(key: key, keyPlace: place, value: ConfigurationNode(place: place, content: content))
        }
        func text(_ key: String, _ value: String) -> ConfigurationNode.Entry {
            entry(key, .scalar(value, isPlain: false))
        }
        func plain(_ key: String, _ value: String) -> ConfigurationNode.Entry {
            entry(key, .scalar(value, isPlain: true))
        }
        var fields = [
            text("name", name.text), text("state", state.rawValue), text("apply", reach.rawValue),
            plain("wait", "\(waits)"), plain("force", "\(force)"),
        ]
        if let template { fields.append(text("template", template)) }
        if let timeout { fields.append(text("timeout", "\(timeout)s")) }
        if !configuration.isEmpty { fields.append(entry("config", .mapping(configuration))) }
        if !parameters.isEmpty {
            fields.append(entry("param", .mapping(parameters.map { text($0.key, $0.value) })))
        }
        let instance = ConfigurationNode(place: place, content: .mapping(fields))
        return try ConfigurationNode(place: place, content: .mapping([entry("instances", .list([instance]))])).yaml
    }
}

extension Form where Value == [ConfigurationNode.Entry] {
    /// Keys and values of a `lima.yaml`, which are checked when they are put into one.
    fileprivate static var configuration: Self {
        Form("mapping of lima.yaml", shape: .map, scalarKind: .asWritten, format: { _ in "" }) { value in
            guard case .mapping(let entries) = value.node.content else {
                value.expected("a mapping of keys of lima.yaml")
                return nil
            }
            return entries
        }
    }
}

extension Form where Value == InstanceName {
    /// The name of an instance.
    static var instanceName: Self {
        Form<String>.text.map("instances") { text, value in
            do throws(HostError) {
                return try InstanceName(text)
            } catch {
                value.fault(error.message)
                return nil
            }
        }
    }
}
