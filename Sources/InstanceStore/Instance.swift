import HostModel
import HostOS

/// An instance whose files were read. It does not tell whether the instance runs.
package struct Instance: Sendable {
    package let directory: InstanceDirectory
    package let configuration: Configuration
    package let settings: Settings
    /// Sentences about keys that were ignored.
    package let warnings: [String]
    /// A digest for each key that only takes effect at a start. If one differs, the guest has to be restarted.
    package let fixedAtStart: [String: String]

    package var name: InstanceName { directory.name }

    /// Reads and validates the instance's files.
    /// - Throws: `HostError`: `.badConfiguration` for faults in the files, `.notPermitted` if we may not read them.
    package init(_ directory: InstanceDirectory) throws(HostError) {
        let host = LimaYAML.Host.current
        guard let text = try Self.text(directory.limaYAML) else {
            // Another command may be deleting the instance.
            try directory.requireExistence()
            throw HostError(
                .badConfiguration, "\(directory.path) has no lima.yaml",
                hint: "hostagent delete --force \(directory.name) removes what is there")
        }
        let loaded = try LimaYAML.load(text, file: directory.limaYAML, host: host)
        self.directory = directory
        configuration = loaded.value
        warnings = loaded.warnings
        settings =
            if let text = try Self.text(directory.settings) {
                try Settings.load(text, file: directory.settings)
            } else {
                Settings()
            }
        fixedAtStart = LimaYAML.digests(of: text).merging(
            settings.accelerator.map { ["accelerator": $0.rawValue] } ?? [:]
        ) { first, _ in first }
    }

    private static func text(_ path: String) throws(HostError) -> String? {
        do {
            return try TextFile.read(path)
        } catch {
            if error.isMissing { return nil }
            throw HostError(error.isDenied ? .notPermitted : .badConfiguration, "cannot read \(path): \(error.reason)")
        }
    }
}
