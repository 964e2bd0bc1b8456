import HostOS

/// Whether a process belongs to an instance. Records, pid files and the names of sockets are claims: a directory that was
/// copied, moved, hard-linked or restored from a backup carries those of another instance. Nothing is attached to and
/// nothing is signalled without this evidence.
package struct Evidence: Sendable {
    private let directory: String
    private let files: [String]

    /// - Parameters:
    ///   - directory: the instance's.
    ///   - files: paths in it, of which a process of this instance has at least one open.
    package init(directory: String, files: [String]) {
        self.directory = directory
        self.files = files
    }

    /// The process runs as the account that owns the directory, and uses a file of this very directory.
    package func proves(_ process: ProcessIdentity) -> Bool {
        guard let owner = Files.owner(directory), process.owner == owner else { return false }
        if ProcessIdentity.canTellOpenFiles { return files.contains(where: process.hasOpen) }
        // Without a list of open files its arguments have to name one; what they name has to exist here.
        let arguments = process.arguments
        return files.contains { file in
            Files.kind(file) != nil && arguments.contains { $0 == file || $0.contains("=" + file) }
        }
    }

    /// Sends a signal to a process, if it is proven to belong to the instance.
    /// - Returns: it was sent.
    @discardableResult
    package func signal(_ process: ProcessIdentity, _ number: Int32) -> Bool {
        proves(process) && process.signal(number)
    }
}
