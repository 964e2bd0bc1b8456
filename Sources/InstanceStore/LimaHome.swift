import HostModel
import HostOS
import LimaConfiguration

/// The directory that holds all instances: `$LIMA_HOME`, or `~/.lima` if that is not set.
package struct LimaHome: Sendable, Hashable {
    package let path: String

    /// - Parameter environment: the variables of this process.
    /// - Throws: `HostError` if there is neither `LIMA_HOME` nor a home directory, or if the path cannot be used.
    package init(environment: [String: String]) throws(HostError) {
        let given = environment["HOME"].flatMap { $0.isEmpty ? nil : $0 }
        if let set = environment["LIMA_HOME"], !set.isEmpty {
            path = set.count > 1 && set.hasSuffix("/") ? String(set.dropLast()) : set
        } else if let home = given ?? HostProcess.account?.home {
            path = home + "/.lima"
        } else {
            throw HostError(.usage, "there is no home directory to find instances in", hint: "set LIMA_HOME or HOME")
        }
        // Neither ssh's configuration files nor unit files can contain these characters.
        if path.contains(where: { $0 == "\"" || $0.isNewline || ($0.asciiValue ?? 32) < 32 }) {
            throw HostError(
                .usage,
                "LIMA_HOME is \(InstanceName.quoted(path)): quotation marks and control characters cannot be used",
                hint: "set it to another path")
        }
        if !path.hasPrefix("/") {
            throw HostError(.usage, "LIMA_HOME is \"\(path)\", which is not absolute", hint: "set it to a full path")
        }
    }

    package init(path: String) { self.path = path }

    /// Keys and other files that are not part of an instance, as in Lima.
    package var configurationDirectory: String { path + "/_config" }

    /// The file that is a base of every template, if there is one.
    package var baseForAll: Locator? {
        let file = configurationDirectory + "/base.yaml"
        return Files.kind(file) == .regular ? .file(file) : nil
    }

    package func directory(of name: InstanceName) -> InstanceDirectory {
        InstanceDirectory(name: name, path: "\(path)/\(name)")
    }

    /// The directories of all instances, by name. Directories whose names are not valid for an instance are left out
    /// (`_config`, `.hostagent-creating-…`).
    /// - Throws: `HostError` if the home exists but cannot be read.
    package func instances() throws(HostError) -> [InstanceDirectory] {
        guard Files.kind(path) != nil else { return [] }
        let names: [String]
        do {
            names = try Files.names(in: path)
        } catch {
            throw HostError(.notPermitted, "cannot list the instances in \(path): \(error.reason)")
        }
        return names.compactMap { text in
            guard let name = try? InstanceName(text) else { return nil }
            let directory = directory(of: name)
            return Files.kind(directory.path) == .directory ? directory : nil
        }
    }

    /// The instances with the given names, or all instances if no name is given.
    /// - Throws: `HostError` for a name that is not valid or that no instance has.
    package func instances(named names: [String]) throws(HostError) -> [InstanceDirectory] {
        let (found, missing) = try found(named: names)
        if let first = missing.first { _ = try existing(first) }
        return found
    }

    /// The instances with the given names, and the names that no instance has.
    /// - Throws: `HostError` for a name that is not valid.
    package func found(named names: [String]) throws(HostError) -> (
        instances: [InstanceDirectory], missing: [InstanceName]
    ) {
        let all = try instances()
        if names.isEmpty { return (all, []) }
        var wanted: Set<InstanceName> = []
        for name in names { wanted.insert(try InstanceName(name)) }
        let found = all.filter { wanted.contains($0.name) }
        return (found, wanted.subtracting(found.map(\.name)).sorted())
    }

    /// The directory of an instance that exists.
    /// - Throws: `HostError` with `.noSuchInstance`.
    package func existing(_ name: InstanceName) throws(HostError) -> InstanceDirectory {
        let directory = directory(of: name)
        try directory.requireExistence()
        return directory
    }
}
