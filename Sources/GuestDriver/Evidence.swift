import HostOS

/// Decides whether a process belongs to an instance. Records, pid files and the names of sockets are only claims: a
/// directory that was copied, moved, hard-linked or restored from a backup carries the claims of another instance.
/// Without this evidence, no process is attached to and none is signalled.
package struct Evidence: Sendable {
    private let directory: String
    private let files: [String]

    /// - Parameters:
    ///   - directory: the directory of the instance.
    ///   - files: paths in it. A process of this instance has at least one of them open.
    package init(directory: String, files: [String]) {
        self.directory = directory
        self.files = files
    }

    /// Whether the process runs as the account that owns the directory, and uses a file of this very directory.
    package func proves(_ process: ProcessIdentity) -> Bool {
        guard let owner = Files.owner(directory), process.owner == owner else { return false }
        return files.contains(where: process.hasOpen)
    }

    /// Sends a signal to a process, if the process is proven to belong to the instance.
    /// - Returns: whether the signal was sent.
    @discardableResult
    package func signal(_ process: ProcessIdentity, _ number: Int32) -> Bool {
        proves(process) && process.signal(number)
    }
}
