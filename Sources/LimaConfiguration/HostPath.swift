import HostModel

/// Paths of the host in a configuration. They are templates. The instance's directory is not known when a file is read, so
/// its variable stands for itself until then.
enum HostPath {
    static let directory = "{{.Dir}}"

    /// A path with the values of its variables, except for the instance's directory.
    static let form = Form<String>.text.map("path, template of the host") { text, value -> String? in
        let path = expanded(text, value)
        guard !path.isEmpty, !path.contains("\0"), !path.hasSuffix("/") else {
            value.expected("a path")
            return nil
        }
        return path
    }

    /// The text with the values of its variables, except for the instance's directory. `~` is the home directory.
    static func expanded(_ text: String, _ value: ConfigurationValue) -> String {
        var variables = value.reading.variables
        let host = value.reading.host
        variables.values.merge(
            [
                "Home": host.home, "User": host.userName, "UID": String(host.uid), "Dir": directory,
                "GlobalTempDir": "/tmp", "TempDir": "/tmp",
            ]
        ) { _, new in new }
        let path = TemplateText.expanded(text, variables) { value.warn($0) }
        return path == "~" || path.hasPrefix("~/") ? host.home + path.dropFirst(1) : path
    }

    static func isInDirectory(_ path: String) -> Bool { path.hasPrefix(directory + "/") }

    static func expanded(_ path: String, in instance: String) -> String { path.replacing(directory, with: instance) }
}

extension ForwardPlan {
    /// The plan of an instance.
    /// - Parameter directory: the instance's.
    package func located(in directory: String) -> ForwardPlan {
        var plan = self
        for index in plan.rules.indices {
            plan.rules[index].hostSocket = plan.rules[index].hostSocket.map { HostPath.expanded($0, in: directory) }
        }
        for index in plan.connections.indices {
            plan.connections[index].host = HostPath.expanded(plan.connections[index].host, in: directory)
        }
        return plan
    }
}
