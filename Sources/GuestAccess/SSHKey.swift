import HostModel
import HostOS

/// The one key pair for all guests, `_config/user` and `_config/user.pub`, as Lima has it.
package struct SSHKey: Sendable {
    /// The path of the private key.
    package let privateKey: String
    /// The public key's line.
    package let authorizedKey: String

    /// Reads the pair, or makes it where there is none.
    /// - Parameter directory: `$LIMA_HOME/_config`.
    /// - Throws: `HostError` when it can be neither read nor made.
    package static func ensure(in directory: String) async throws -> SSHKey {
        let path = directory + "/user"
        if let key = try? read(path) { return key }
        do {
            try Files.makeDirectory(directory)
            // Two first starts at once: one makes the pair, the other waits a moment for it.
            let deadline = ContinuousClock.now + .seconds(10)
            while ContinuousClock.now < deadline {
                if let lock = try FileLock.acquire(path: directory + "/user.lock") {
                    let key = try await make(path)
                    lock.release()
                    return key
                }
                try await Task.sleep(for: .milliseconds(20))
                if let key = try? read(path) { return key }
            }
        } catch let error as SystemCallError {
            throw HostError(.cannotCreate, "cannot make the SSH key \(path): \(error.reason)")
        }
        throw HostError(.held, "another process has been making the SSH key \(path) for 10 s")
    }

    private static func read(_ path: String) throws(SystemCallError) -> SSHKey {
        guard Files.kind(path) == .regular else { throw SystemCallError("open", path, code: 2) }
        return SSHKey(privateKey: path, authorizedKey: try TextFile.read(path + ".pub").trimmed)
    }

    private static func make(_ path: String) async throws -> SSHKey {
        if let key = try? read(path) { return key }
        // Before anything is changed: half of a pair is worse than none.
        if let kind = Files.kind(path), kind != .regular {
            throw HostError(
                .cannotCreate, "cannot make the SSH key \(path): something that is no file is there",
                hint: "move it away, or put your key back")
        }
        if Files.kind(path) == .regular {
            // The public half was lost: it follows from the private one.
            let result = try await Tool("ssh-keygen", ["-y", "-f", path]).run()
            guard result.succeeded else {
                throw HostError(.unavailable, "the SSH key \(path) cannot be used: \(result.complaint)")
            }
            try TextFile.replace(path + ".pub", with: result.output.trimmed + " lima\n")
            return try read(path)
        }
        // ssh-keygen makes two files, so they are made in a directory of their own.
        let staging = TemporaryName.path(beside: path)
        try Files.makeDirectory(staging)
        defer { try? Files.remove(staging) }
        let key = staging + "/user"
        let result = try await Tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "lima", "-f", key]).run()
        guard result.succeeded else {
            throw HostError(.cannotCreate, "cannot make the SSH key \(path): \(result.complaint)")
        }
        // The private half last: where it is, the pair is whole.
        try Files.moveSynced(key + ".pub", to: path + ".pub")
        try Files.moveSynced(key, to: path)
        return try read(path)
    }
}
