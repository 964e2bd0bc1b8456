import HostModel
import HostOS

/// Files and directories that killed commands left behind. Their names contain the process that made them, so that the
/// work of running commands is not touched.
package enum Leftovers {
    private static let prefix = ".hostagent-"
    private static let verbs = ["creating", "deleting"]

    /// The hidden name of a directory while its instance is being created or deleted.
    package static func name(for verb: String, _ instance: InstanceName) -> String {
        "\(prefix)\(verb)-\(instance)-\(TemporaryName.owner)"
    }

    /// Removes such directories and unfinished configuration files if the process that made them is gone.
    /// - Returns: what was removed.
    package static func sweep(_ home: LimaHome) -> [String] {
        let directories = names(in: home.path).filter { entry in
            let parts = entry.split(separator: "-")
            return verbs.contains { entry.hasPrefix("\(prefix)\($0)-") } && parts.count >= 5
                && TemporaryName.isGone(pid: parts[parts.count - 2], startTime: parts[parts.count - 1])
        }
        return remove(directories, in: home.path) + sweepFiles(in: home.configurationDirectory)
    }

    /// Removes an instance's unfinished files if the process that made them is gone.
    /// - Returns: what was removed.
    package static func sweep(_ directory: InstanceDirectory) -> [String] { sweepFiles(in: directory.path) }

    private static func sweepFiles(in path: String) -> [String] {
        remove(names(in: path).filter(TemporaryName.isAbandoned), in: path)
    }

    private static let draft = "\(prefix)draft-"

    /// The name of the file that is open in a person's editor.
    package static func draftName() -> String { "\(draft)\(TemporaryName.owner).yaml" }

    /// Keeps the drafts of `edit` commands that were killed.
    /// - Returns: a sentence for each draft.
    package static func rescueDrafts(_ directory: InstanceDirectory) -> [String] {
        names(in: directory.path).compactMap { name in
            let parts = name.dropFirst(draft.count).dropLast(".yaml".count).split(separator: "-")
            guard name.hasPrefix(draft), name.hasSuffix(".yaml"), parts.count == 2,
                TemporaryName.isGone(pid: parts[0], startTime: parts[1])
            else { return nil }
            let file = directory.path + "/" + name
            // An unreadable file belongs to another account, or another command has already moved it.
            guard let typed = try? TextFile.read(file), let old = try? TextFile.read(directory.limaYAML) else {
                return nil
            }
            if typed == old {
                return (try? Files.remove(file)) == nil ? nil : "removed \(file), in which nothing had been changed"
            }
            return Files.moveAside(file, to: directory.limaYAML + ".draft").map {
                "what was being typed when an edit was killed is in \($0)"
            }
        }
    }

    private static func names(in path: String) -> [String] { (try? Files.names(in: path)) ?? [] }

    private static func remove(_ names: [String], in path: String) -> [String] {
        names.map { "\(path)/\($0)" }.filter { (try? Files.remove($0)) != nil }
    }
}
