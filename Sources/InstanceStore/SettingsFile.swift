import HostModel
import HostOS

extension Settings {
    /// The text of a `hostagent.yaml` with one top-level key set. Everything else stays as it was.
    package static func setting(_ key: String, to value: String, in text: String) -> String {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        if lines.last == "" { lines.removeLast() }
        let line = "\(key): \(value)"
        if let index = lines.firstIndex(where: { $0.hasPrefix(key + ":") }) {
            lines[index] = line
        } else {
            lines.append(line)
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Reads a `hostagent.yaml`.
    /// - Throws: `HostError` with `.badConfiguration`. It lists every fault with line and column.
    package static func load(_ text: String, file: String) throws(HostError) -> Settings {
        if text.trimmed.isEmpty { return Settings() }
        let findings = Findings()
        let root = try YAMLValue.root(of: text, file: file, findings: findings)
        let fields = root.fields(
            known: [
                "stopGrace", "keepAlive", "accelerator", "after", "before", "consoleLogLimit", "eventLogLimit",
            ], ignored: ["idleTimeout"])
        var settings = Settings()
        // No guest can shut down in less than a second. No manager waits as long as an hour.
        if let grace = fields["stopGrace"]?.duration(in: 1...3600) { settings.stopGrace = grace }
        if let keepAlive = fields["keepAlive"]?.word(KeepAlive.self) { settings.keepAlive = keepAlive }
        settings.accelerator = fields["accelerator"]?.word(Accelerator.self)
        let logSizes = 64 << 10...1 << 30
        if let limit = fields["consoleLogLimit"]?.size(in: logSizes) { settings.consoleLogLimit = limit }
        if let limit = fields["eventLogLimit"]?.size(in: logSizes) { settings.eventLogLimit = limit }
        settings.after = names(fields["after"])
        settings.before = names(fields["before"])
        try findings.throwIfFaulty(file: file)
        return settings
    }

    private static func names(_ value: YAMLValue?) -> [InstanceName] {
        let elements: [YAMLValue] = value?.elements() ?? []
        return elements.compactMap { element -> InstanceName? in
            guard let text = element.text() else { return nil }
            do throws(HostError) {
                return try InstanceName(text)
            } catch {
                element.fault(error.message)
                return nil
            }
        }
    }
}
