import HostModel
import HostOS

/// What commands that were killed left behind. Names tell whose it was, so that nobody's work under way is touched.
package enum Leftovers {
    private static let verbs = ["creating", "deleting"]

    /// The hidden name of a directory that is on its way to become an instance, or to be gone.
    package static func name(for verb: String, _ instance: InstanceName) -> String {
        let start = ProcessIdentity.of(pid: HostProcess.pid)?.startTime ?? 0
        return ".\(verb)-\(instance)-\(HostProcess.pid)-\(start)"
    }

    /// Removes such directories, and unfinished files of the configuration, of processes that are gone.
    /// - Returns: what was removed.
    package static func sweep(_ home: LimaHome) -> [String] {
        let directories = names(in: home.path).filter { entry in
            guard verbs.contains(where: { entry.hasPrefix(".\($0)-") }) else { return false }
            let parts = entry.split(separator: "-")
            guard parts.count >= 3, let pid = Int32(parts[parts.count - 2]), let start = UInt64(parts[parts.count - 1])
            else { return false }
            return ProcessIdentity.of(pid: pid)?.startTime != start
        }
        let files = names(in: home.configurationDirectory).filter(isAbandoned).map {
            home.configurationDirectory + "/" + $0
        }
        return remove(directories.map { home.path + "/" + $0 } + files)
    }

    /// Removes unfinished files of an instance.
    /// - Parameter holdingLock: the caller holds the instance's lock, so nobody prepares it just now.
    /// - Returns: what was removed.
    package static func sweep(_ directory: InstanceDirectory, holdingLock: Bool) -> [String] {
        let parts = [directory.disk, directory.baseDisk, directory.kernel, directory.initrd, directory.cidata]
            .map { $0 + ".new" }
        let files = names(in: directory.path).filter(isAbandoned).map { directory.path + "/" + $0 }
        return remove(files + (holdingLock ? parts.filter { Files.kind($0) != nil } : []))
    }

    /// The name of what somebody is typing in an editor.
    package static func draftName() -> String { "lima.edit.\(HostProcess.pid).yaml" }

    /// Keeps what was being typed when an `edit` was killed.
    /// - Returns: a sentence for each.
    package static func rescueDrafts(_ directory: InstanceDirectory) -> [String] {
        names(in: directory.path).compactMap { name in
            let parts = name.split(separator: ".")
            guard name.hasPrefix("lima.edit."), parts.count == 4, let pid = Int32(parts[2]),
                ProcessIdentity.of(pid: pid) == nil
            else { return nil }
            let draft = directory.path + "/" + name
            // What cannot be read is somebody else's, or another command's by now.
            guard let typed = try? TextFile.read(draft), let old = try? TextFile.read(directory.limaYAML) else {
                return nil
            }
            if typed == old {
                return (try? Files.remove(draft)) == nil ? nil : "removed \(draft), in which nothing had been changed"
            }
            return Files.moveAside(draft, to: directory.limaYAML + ".draft").map {
                "what was being typed when an edit was killed is in \($0)"
            }
        }
    }

    /// `NAME.PID.new` (TextFile.replace) of a process that is gone.
    private static func isAbandoned(_ name: String) -> Bool {
        let parts = name.split(separator: ".")
        guard parts.count >= 3, parts[parts.count - 1] == "new", let pid = Int32(parts[parts.count - 2]) else {
            return false
        }
        return ProcessIdentity.of(pid: pid) == nil
    }

    private static func names(in path: String) -> [String] { (try? Files.names(in: path)) ?? [] }

    private static func remove(_ paths: [String]) -> [String] { paths.filter { (try? Files.remove($0)) != nil } }
}
