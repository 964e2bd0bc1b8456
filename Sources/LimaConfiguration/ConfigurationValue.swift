import HostModel

/// One value that is being read: where it is, and under which path, such as `images[0].kernel.cmdline`. It is read as a
/// value of the expected type; anything else is recorded as a fault.
package struct ConfigurationValue {
    let path: String
    let node: ConfigurationNode
    let reading: Reading

    func fault(_ message: String) {
        reading.findings.fault(node.place, path.isEmpty ? message : "\(path): \(message)")
    }

    func warn(_ message: String) { reading.findings.warn(node.place, "\(path): \(message)") }

    func expected(_ what: String) { fault("expected \(what), found \(node.summary)") }

    /// The text of any scalar.
    func text() -> String? {
        guard case .scalar(let text, _) = node.content else {
            expected("text")
            return nil
        }
        return text
    }

    /// Text without quotation marks around it, which may be a number or a truth value; nil without a fault.
    var plainText: String? {
        guard case .scalar(let text, isPlain: true) = node.content else { return nil }
        return text
    }

    func elements() -> [ConfigurationValue] {
        guard case .list(let elements) = node.content else {
            expected("a list")
            return []
        }
        return elements.enumerated().map { index, element in
            ConfigurationValue(path: "\(path)[\(index)]", node: element, reading: reading)
        }
    }

    /// The entries of a mapping that may have any keys.
    func entries() -> [(key: String, value: ConfigurationValue)] {
        guard case .mapping(let entries) = node.content else {
            expected("a mapping")
            return []
        }
        return entries.map {
            ($0.key, ConfigurationValue(path: "\(path).\($0.key)", node: $0.value, reading: reading))
        }
    }
}

/// What is known while a configuration is read.
final class Reading {
    let findings = Findings()
    /// What the variables in templates stand for. It grows while the configuration is read: the guest's user has to be
    /// known before a script that names the user.
    var variables = TemplateVariables()
    let host: HostFacts

    init(host: HostFacts) { self.host = host }
}

/// The facts about the host that defaults depend on.
package struct HostFacts: Sendable {
    package var architecture: Architecture
    /// The name, the uid and the home directory of the account that owns the instance.
    package var userName: String
    package var uid: Int
    package var home: String

    package init(architecture: Architecture, userName: String, uid: Int, home: String) {
        self.architecture = architecture
        self.userName = userName
        self.uid = uid
        self.home = home
    }

    /// For files that do not depend on the host.
    static let unknown = HostFacts(architecture: .host, userName: "", uid: 0, home: "/")
}
