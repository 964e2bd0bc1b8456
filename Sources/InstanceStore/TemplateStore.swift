import HostModel
import HostOS
import LimaConfiguration

/// The templates that this host has: files, those of the account, and those that are compiled in.
package struct TemplateStore: TemplateReader {
    private let home: LimaHome
    private let environment: [String: String]

    package init(home: LimaHome, environment: [String: String]) {
        self.home = home
        self.environment = environment
    }

    /// Where templates with names are looked for, as in Lima: `LIMA_TEMPLATES_PATH`, or `_templates` in `$LIMA_HOME`.
    private var directories: [String] {
        if let paths = environment["LIMA_TEMPLATES_PATH"], !paths.isEmpty {
            return paths.split(separator: ":").map(String.init)
        }
        return [home.path + "/_templates"]
    }

    package func text(of locator: Locator) async throws(HostError) -> ConfigurationText {
        switch locator {
        case .file(let path):
            guard let text = try TextFile.configuration(path) else {
                throw HostError(.unavailable, "there is no file \(InstanceName.quoted(path))")
            }
            return ConfigurationText(text, file: path)
        case .template(let name):
            for directory in directories {
                let path = "\(directory)/\(name).yaml"
                if let text = try TextFile.configuration(path) { return ConfigurationText(text, file: path) }
            }
            if let text = InstanceTemplate.text(name, environment: environment) {
                return ConfigurationText(text, file: locator.description)
            }
            throw HostError(
                .unavailable, "there is no template \(InstanceName.quoted(name))",
                hint: "hostagent's own are \(InstanceTemplate.names.joined(separator: ", ")); others are looked for in "
                    + directories.joined(separator: ", "))
        case .address(let address):
            throw HostError(
                .unavailable, "\(InstanceName.quoted(address)) is to be downloaded, which hostagent does not do yet",
                hint: "download it, and name the file")
        case .standardInput:
            throw HostError(.usage, "standard input cannot be read twice")
        }
    }
}
