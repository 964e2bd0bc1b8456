import HostModel

extension Settings {
    /// Reads a `hostagent.yaml`.
    /// - Throws: `HostError` with `.badConfiguration` that lists every fault with line and column.
    package static func load(_ text: String, file: String) throws(HostError) -> Settings {
        let findings = Findings()
        let root = try YAMLValue.root(of: text, file: file, findings: findings)
        let fields = root.fields(known: ["stopGrace", "keepAlive", "accelerator"], ignored: ["idleTimeout"])
        var settings = Settings()
        // Below a second no guest can shut down; an hour is longer than any manager waits.
        if let grace = fields["stopGrace"]?.duration(in: 1...3600) { settings.stopGrace = grace }
        if let keepAlive = fields["keepAlive"]?.word(KeepAlive.self) { settings.keepAlive = keepAlive }
        settings.accelerator = fields["accelerator"]?.word(Accelerator.self)
        try findings.throwIfFaulty(file: file)
        return settings
    }
}
