import HostModel
import HostOS
import InstanceStore

/// An instance's `lima.yaml` that is locked against other edits: of two at once, the second would overwrite the first.
package struct EditedFile: ~Copyable {
    private let directory: InstanceDirectory
    private let lock: FileLock
    package let text: String

    /// - Throws: `HostError` if another command edits it, or if it cannot be read or must not be changed.
    package static func open(_ directory: InstanceDirectory) throws(HostError) -> EditedFile {
        let lock = try lock(directory)
        do {
            let text = try read(directory)
            return EditedFile(directory: directory, lock: lock, text: text)
        } catch {
            try? Files.remove(directory.editLock)
            throw error
        }
    }

    private init(directory: InstanceDirectory, lock: consuming FileLock, text: String) {
        self.directory = directory
        self.lock = lock
        self.text = text
    }

    /// The text of the file, which is an own one of the instance.
    package static func read(_ directory: InstanceDirectory) throws(HostError) -> String {
        if let target = Files.linkTarget(directory.limaYAML) {
            throw HostError(
                .usage, "\(directory.limaYAML) is a symbolic link to \(target), which other instances may use",
                hint: "edit that file itself, or replace the link by a copy")
        }
        guard let text = try TextFile.configuration(directory.limaYAML) else {
            try directory.requireExistence()
            throw HostError(.badConfiguration, "\(directory.path) has no lima.yaml")
        }
        return text
    }

    private static func lock(_ directory: InstanceDirectory) throws(HostError) -> FileLock {
        do {
            if let lock = try FileLock.acquire(path: directory.editLock) { return lock }
        } catch {
            // The instance was deleted since it was found.
            if error.isMissing { try directory.requireExistence() }
            throw HostError(.notPermitted, "cannot edit \"\(directory.name)\": \(error)")
        }
        throw HostError(
            .held, "another command is editing the instance \"\(directory.name)\"", hint: "try again when it is done")
    }

    package borrowing func save(_ new: String) throws(HostError) {
        do {
            try TextFile.replace(directory.limaYAML, with: new)
        } catch {
            throw HostError(.cannotCreate, "cannot write \(directory.limaYAML): \(error.reason)")
        }
    }

    package consuming func release() {
        try? Files.remove(directory.editLock)
        lock.release()
    }
}
