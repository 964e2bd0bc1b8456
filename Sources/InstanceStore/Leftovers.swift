import HostModel
import HostOS

/// What commands that were killed left behind. Names tell whose it was, so that nobody's work under way is touched.
package enum Leftovers {
    private static let prefix = ".hostagent-"
    private static let verbs = ["creating", "deleting"]

    /// The hidden name of a directory that is on its way to become an instance, or to be gone.
    package static func name(for verb: String, _ instance: InstanceName) -> String {
        "\(prefix)\(verb)-\(instance)-\(TemporaryName.owner)"
    }

    /// Removes such directories, and unfinished files of the configuration, of processes that are gone.
    /// - Returns: what was removed.
    package static func sweep(_ home: LimaHome) -> [String] {
        let directories = names(in: home.path).filter { entry in
            let parts = entry.split(separator: "-")
            return verbs.contains { entry.hasPrefix("\(prefix)\($0)-") } && parts.count >= 5
                && TemporaryName.isGone(pid: parts[parts.count - 2], startTime: parts[parts.count - 1])
        }
        return remove(directories, in: home.path) + sweepFiles(in: home.configurationDirectory)
    }

    /// Removes unfinished files of an instance, of processes that are gone.
    /// - Returns: what was removed.
    package static func sweep(_ directory: InstanceDirectory) -> [String] { sweepFiles(in: directory.path) }

    private static func sweepFiles(in path: String) -> [String] {
        remove(names(in: path).filter(TemporaryName.isAbandoned), in: path)
    }

    private static let draft = "\(prefix)draft-"

    /// The name of what somebody is typing in an editor.
    package static func draftName() -> String { "\(draft)\(TemporaryName.owner).yaml" }

    /// Keeps what was being typed when an `edit` was killed.
    /// - Returns: a sentence for each.
    package static func rescueDrafts(_ directory: InstanceDirectory) -> [String] {
        names(in: directory.path).compactMap { name in
            let parts = name.dropFirst(draft.count).dropLast(".yaml".count).split(separator: "-")
            guard name.hasPrefix(draft), name.hasSuffix(".yaml"), parts.count == 2,
                TemporaryName.isGone(pid: parts[0], startTime: parts[1])
            else { return nil }
            let file = directory.path + "/" + name
            // A file that cannot be read is somebody else's, or another command has moved it by now.
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
