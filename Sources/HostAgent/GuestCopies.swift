import GuestAccess
import HostModel
import HostOS
import InstanceStore
import LimaConfiguration

/// Copies files of a guest that has become ready to the host, and removes the copies when it stops (`copyToHost`).
struct GuestCopies: Sendable {
    let copies: [Configuration.HostCopy]
    let directory: InstanceDirectory
    let host: String
    /// Gets a sentence about each file that cannot be copied.
    let warn: @Sendable (String) -> Void

    /// The size in bytes beyond which a file is not copied: a guest must not fill the host's disk.
    private static let maximumSize = 256 << 20
    /// The status of the guest's shell when there is no such file.
    private static let missing: Int32 = 44

    func makeAll() async throws {
        for copy in copies {
            do {
                try await make(copy)
            } catch let error as CancellationError {
                throw error
            } catch {
                warn("\(copy.guestPath) of the guest was not copied to \(copy.hostPath(in: directory.path)): \(error)")
            }
        }
    }

    private func make(_ copy: Configuration.HostCopy) async throws {
        let target = copy.hostPath(in: directory.path)
        if let end = target.lastIndex(of: "/"), end != target.startIndex {
            try Files.makeDirectory(String(target[..<end]))
        }
        // As in Lima, a file that the user cannot read is read by root.
        let path = ShellWord.quoted(copy.guestPath)
        let script =
            "if [ -r \(path) ]; then exec cat \(path); fi; sudo -n [ -e \(path) ] || exit \(Self.missing); "
            + "exec sudo -n cat \(path)"
        let temporary = target + "." + TemporaryName.make()
        defer { try? Files.remove(temporary) }
        // The shell writes the file, which may hold any bytes, and limits its size in units of 512 bytes (POSIX, ulimit).
        let result = try await Tool(
            "sh",
            [
                "-c", "ulimit -f \(Self.maximumSize / 512); target=$1; shift; exec \"$@\" > \"$target\"", "sh",
                temporary, "ssh", "-F", directory.sshConfiguration, "-o", "ControlPath=none", "-T", host, "--", script,
            ]
        ).run()
        if result.status == Self.missing {
            if copy.skipsMissing { return }
            throw HostError(.failed, "the guest has no such file")
        }
        guard result.succeeded else {
            let isTooBig = Files.size(temporary) ?? 0 >= Self.maximumSize
            throw HostError(
                .failed, isTooBig ? "it has more than \(ByteCount.format(Self.maximumSize))" : result.complaint)
        }
        try Files.move(temporary, to: target)
    }

    /// Removes the copies of a guest that has ended.
    func removeThoseOfARun() {
        for copy in copies where copy.isRemovedAtStop {
            let path = copy.hostPath(in: directory.path)
            // Only what a copy can be is removed.
            if Files.kind(path) == .regular { try? Files.remove(path) }
        }
    }
}
