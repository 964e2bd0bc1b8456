import HostModel

/// The content of `hostagent.yaml`: what `lima.yaml` has no key for.
package struct Settings: Sendable, Equatable {
    /// Seconds that the guest gets to shut down before it is ended by force.
    package var stopGrace = Keys.stopGrace.fallback
    package var keepAlive = Keys.keepAlive.fallback
    /// If nil, the host is probed for what it supports.
    package var accelerator: Accelerator?
    package var network = Keys.network.fallback
    /// Instances that are started before this one and stopped after it.
    package var after: [InstanceName] = []
    package var before: [InstanceName] = []
    /// Bytes that the guest's console log may take on the host's disk. The newest bytes are kept.
    package var consoleLogLimit = Keys.consoleLogLimit.fallback
    /// Bytes that the agent's event log may take.
    package var eventLogLimit = Keys.eventLogLimit.fallback
    /// What the instance's files were made from. This program writes it.
    package var sources: [Source] = []

    package init() {}

    /// Differs between an instance and its clones; empty for an instance that is none. Its guest makes itself a
    /// machine-id of its own when this changes. This program writes it.
    package var cloneIdentity = ""

    /// A file that an instance was made from.
    package struct Source: Sendable, Equatable {
        /// As `lima.yaml` has it, with `~` and `file://` resolved.
        package var location: String
        /// The digest of what was downloaded; nil for a file of the host.
        package var digest: Configuration.Digest?

        package init(location: String, digest: Configuration.Digest?) {
            self.location = location
            self.digest = digest
        }
    }

    private enum Keys {
        // No guest can shut down in less than a second. No manager waits as long as an hour.
        static let stopGrace = DefaultedKey(
            "stopGrace", .duration(in: 1...3600), default: 90, .agent, .liveUnlessRegistered)
        static let keepAlive = DefaultedKey(
            "keepAlive", Form<KeepAlive>.word, default: .onFailure, .agent, .liveUnlessRegistered)
        static let accelerator = Key(
            "accelerator", Form<Accelerator>.word, .machine, .start, standard: "what the host supports")
        static let network = DefaultedKey("network", Form<NetworkBackend>.word, default: .user, .machine, .start)
        static let after = Key("after", list(of: .instanceName), .agent, .enable)
        static let before = Key("before", list(of: .instanceName), .agent, .enable)
        static let consoleLogLimit = DefaultedKey(
            "consoleLogLimit", .size(in: 64 << 10...1 << 30), default: 16 << 20, .agent, .agentStart)
        static let eventLogLimit = DefaultedKey(
            "eventLogLimit", .size(in: 64 << 10...1 << 30), default: 16 << 20, .agent, .agentStart)
        static let sources = Key(
            "sources",
            list(
                of: Form<Source>.record([location, ImageKeys.digest], named: "files") { fields, value in
                    guard let location = fields[location] else {
                        value.fault("location: missing")
                        return nil
                    }
                    return Source(location: location, digest: fields[ImageKeys.digest])
                }), .machine, .creation)
        static let cloneIdentity = DefaultedKey("cloneIdentity", .line, default: "", .guest, .start)
        private static let location = Key("location", .line)
    }

    /// The table of all keys.
    package static let keys: [any KeyDeclaration] = [
        Keys.stopGrace, Keys.keepAlive, Keys.accelerator, Keys.network, Keys.after, Keys.before, Keys.consoleLogLimit,
        Keys.eventLogLimit, Keys.sources, Keys.cloneIdentity,
        Key("idleTimeout", .unread("duration"), .agent, .live, .notYet),
    ]

    /// Reads a `hostagent.yaml`.
    /// - Throws: `HostError` with `.badConfiguration`. It lists every fault with line and column.
    package static func load(_ text: String, file: String) throws(HostError) -> ResolvedSettings {
        let source = ConfigurationText(text, file: file)
        if source.isBlank { return ResolvedSettings() }
        let node = try ConfigurationNode(parsing: source)
        let reading = Reading(host: .unknown)
        let settings = ConfigurationValue(path: "", node: node, reading: reading).record(keys) { fields in
            var settings = Settings()
            settings.stopGrace = fields[Keys.stopGrace]
            settings.keepAlive = fields[Keys.keepAlive]
            settings.accelerator = fields[Keys.accelerator]
            settings.network = fields[Keys.network]
            settings.after = fields[Keys.after] ?? []
            settings.before = fields[Keys.before] ?? []
            settings.consoleLogLimit = fields[Keys.consoleLogLimit]
            settings.eventLogLimit = fields[Keys.eventLogLimit]
            settings.cloneIdentity = fields[Keys.cloneIdentity]
            settings.sources = fields[Keys.sources] ?? []
            return settings
        }
        try reading.findings.throwIfFaulty(file: file)
        return ResolvedSettings(
            settings: settings ?? Settings(), warnings: reading.findings.warnings,
            digests: KeyDigests(of: node, keys, scalarsAsText: true))
    }

    /// The text of a `hostagent.yaml` with one top-level key set. Everything else stays as it was.
    package static func setting(_ key: String, to value: String, in text: String) -> String {
        // Split by Unicode scalars: in Swift, a carriage return and a line feed form one character.
        var lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        let line = "\(key): \(value)"
        if let index = lines.firstIndex(where: { $0.hasPrefix(key + ":") }) {
            lines[index] = line
        } else {
            lines.append(line)
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension Settings {
    private static let sourcesRemark =
        "# What this instance was made from. Other bytes from these addresses are refused later."

    /// The text of a `hostagent.yaml` with what the instance was made from at its end, in the place of what was there.
    package static func recording(_ sources: [Source], in text: String) -> String {
        var isInBlock = false
        let kept = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(String.init).filter
        {
            // The block ends with the next line that begins a key or a comment.
            if let first = $0.first, !first.isWhitespace, first != "-" { isInBlock = $0.hasPrefix("sources:") }
            return !isInBlock && $0 != sourcesRemark
        }.joined(separator: "\n")
        let before = kept.isEmpty || kept.hasSuffix("\n") ? kept : kept + "\n"
        let entries = sources.map { source in
            "- location: \(YAMLText.quoted(source.location))\n"
                + (source.digest.map { "  digest: \($0)\n" } ?? "")
        }
        return before + sourcesRemark + "\nsources:\n" + entries.joined()
    }
}

/// Settings that were read and checked.
package struct ResolvedSettings: Sendable {
    package var settings = Settings()
    package var warnings: [String] = []
    package var digests = KeyDigests()

    package init() {}

    fileprivate init(settings: Settings, warnings: [String], digests: KeyDigests) {
        self.settings = settings
        self.warnings = warnings
        self.digests = digests
    }
}
