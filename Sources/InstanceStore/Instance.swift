import HostModel
import HostOS
import LimaConfiguration

/// An instance whose files were read. It does not tell whether the instance runs.
package struct Instance: Sendable {
    package let directory: InstanceDirectory
    package let configuration: Configuration
    package let settings: Settings
    /// Sentences about keys that were ignored.
    package let warnings: [String]
    /// The values of the keys, to be compared with those that a guest was started with.
    package let digests: KeyDigests

    package var name: InstanceName { directory.name }

    /// The image that the instance was or will be made from.
    package var image: Configuration.Image { configuration.image(madeFrom: settings.sources) }

    /// Reads and validates the instance's files, and those that configure all instances.
    /// - Throws: `HostError`: `.badConfiguration` for faults in the files, `.notPermitted` if we may not read them.
    package init(_ directory: InstanceDirectory) throws(HostError) {
        try self.init(directory, Self.resolved(directory))
    }

    /// Reads and validates `lima.yaml`, and the files that configure all instances.
    /// - Throws: `HostError`, as the initializer.
    package static func resolved(_ directory: InstanceDirectory) throws(HostError) -> ResolvedConfiguration {
        guard let text = try TextFile.configuration(directory.limaYAML) else {
            // Another command may be deleting the instance.
            try directory.requireExistence()
            throw HostError(
                .badConfiguration, "\(directory.path) has no lima.yaml",
                hint: "hostagent delete --force \(directory.name) removes what is there")
        }
        return try LimaYAML.resolve(
            LimaHome(path: directory.home).layers(around: ConfigurationText(text, file: directory.limaYAML)),
            for: directory.name, host: .current)
    }

    /// Reads and validates the instance's own settings.
    package init(_ directory: InstanceDirectory, _ resolved: ResolvedConfiguration) throws(HostError) {
        let settings =
            if let text = try TextFile.configuration(directory.settings) {
                try Settings.load(text, file: directory.settings)
            } else {
                ResolvedSettings()
            }
        self.directory = directory
        configuration = resolved.configuration
        self.settings = settings.settings
        warnings = resolved.warnings + settings.warnings
        digests = resolved.digests.merging(settings.digests)
    }
}

extension HostFacts {
    package static var current: HostFacts {
        let account = HostProcess.account
        return HostFacts(
            architecture: .host, userName: account?.name ?? "", uid: Int(HostProcess.uid), home: account?.home ?? "/")
    }
}

extension LimaHome {
    /// The files that configure an instance: its own, and those that Lima keeps for all instances.
    /// - Throws: `HostError` if one exists and cannot be read.
    package func layers(around main: ConfigurationText) throws(HostError) -> ConfigurationLayers {
        ConfigurationLayers(main, override: try layer("override.yaml"), defaults: try layer("default.yaml"))
    }

    private func layer(_ name: String) throws(HostError) -> ConfigurationText? {
        let file = configurationDirectory + "/" + name
        return try TextFile.configuration(file).map { ConfigurationText($0, file: file) }
    }
}

extension TextFile {
    private static func isImage(_ path: String) -> Bool {
        (try? DiskFormat.of(path)).map { $0.name == "qcow2" } ?? false || (try? Compression.of(path)) ?? nil != nil
    }

    /// The text of a file that configures something; nil if there is no such file.
    /// - Parameter name: what people call the file, if that is not its path.
    package static func configuration(_ path: String, as name: String? = nil) throws(HostError) -> String? {
        let text: String?
        do {
            text = try strictText(path)
        } catch {
            if error.isMissing { return nil }
            throw HostError(error.isDenied ? .notPermitted : .badConfiguration, "cannot read \(path): \(error.reason)")
        }
        guard let text else {
            throw HostError(
                .badConfiguration, "\(name ?? path) is not UTF-8 text\(isImage(path) ? ", but an image" : "")",
                hint: isImage(path)
                    ? "an image is named under images: in a template; hostagent template copy default - shows one"
                    : "iconv -f LATIN1 -t UTF-8 converts a file in the encoding Latin-1")
        }
        return text
    }
}
