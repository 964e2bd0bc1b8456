import HostModel
import HostOS

/// The key pair that all guests share, `_config/user` and `_config/user.pub`, as in Lima.
package struct SSHKey: Sendable {
    /// The path of the private key.
    package let privateKey: String
    /// The line of the public key.
    package let authorizedKey: String

    /// Reads the pair, or generates it when there is none.
    /// - Parameter directory: `$LIMA_HOME/_config`.
    /// - Throws: `HostError` when it can be neither read nor made.
    package static func ensure(in directory: String) async throws -> SSHKey {
        let path = directory + "/user"
        if let key = try? read(path) { return key }
        do {
            try Files.makeDirectory(directory)
            // When two first starts run at once, one generates the pair and the other waits a moment for it.
            let deadline = ContinuousClock.now + .seconds(10)
            var backoff = Backoff(from: .milliseconds(20), to: .milliseconds(200))
            while ContinuousClock.now < deadline {
                if let lock = try FileLock.acquire(path: directory + "/user.lock") {
                    let key = try await make(path)
                    lock.release()
                    return key
                }
                try await backoff.pause()
                if let key = try? read(path) { return key }
            }
        } catch let error as SystemCallError {
            throw HostError(.cannotCreate, "cannot make the SSH key \(path): \(error.reason)")
        }
        throw HostError(
            .held, "another process has been making the SSH key \(path) for 10 s",
            hint: "end the process that holds \(directory)/user.lock, which fuser(1) names, then try again")
    }

    /// The public keys in an account's `~/.ssh`.
    package static func authorizedKeys(ofHome home: String) -> [String] {
        let directory = home + "/.ssh"
        let names = ((try? Files.names(in: directory)) ?? []).filter { $0.hasSuffix(".pub") }
        return names.flatMap { name in
            ((try? TextFile.read("\(directory)/\(name)", limit: 1 << 16)) ?? "").split(separator: "\n").map {
                String($0).trimmed
            }
        }.filter { line in
            // sshd(8): a line is a type, a key and a comment.
            !line.isEmpty && !line.hasPrefix("#") && line.contains(" ")
        }
    }

    private static func read(_ path: String) throws(SystemCallError) -> SSHKey {
        guard Files.kind(path) == .regular else { throw SystemCallError("open", path, code: 2) }
        return SSHKey(privateKey: path, authorizedKey: try TextFile.read(path + ".pub").trimmed)
    }

    private static func make(_ path: String) async throws -> SSHKey {
        if let key = try? read(path) { return key }
        // Checked before anything is changed, because half of a pair is worse than none.
        if let kind = Files.kind(path), kind != .regular {
            throw HostError(
                .cannotCreate, "cannot make the SSH key \(path): it exists but is not a regular file",
                hint: "move it away, or put your key back")
        }
        if Files.kind(path) == .regular {
            // The public key was lost. It is derived from the private key.
            let result = try await Tool("ssh-keygen", ["-y", "-f", path]).run()
            guard result.succeeded else {
                throw HostError(.unavailable, "the SSH key \(path) cannot be used: \(result.complaint)")
            }
            try TextFile.replace(path + ".pub", with: result.output.trimmed + " lima\n")
            return try read(path)
        }
        // ssh-keygen creates two files, so they are generated in a directory of their own.
        let staging = TemporaryName.path(beside: path)
        try Files.makeDirectory(staging)
        defer { try? Files.remove(staging) }
        let key = staging + "/user"
        let result = try await Tool("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "lima", "-f", key]).run()
        guard result.succeeded else {
            throw HostError(.cannotCreate, "cannot make the SSH key \(path): \(result.complaint)")
        }
        // The private key is moved last, so that its presence means the pair is complete.
        try Files.moveSynced(key + ".pub", to: path + ".pub")
        try Files.moveSynced(key, to: path)
        return try read(path)
    }
}
