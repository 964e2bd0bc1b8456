import Glibc
import HostOS

/// A file system with little room, which root's tests can fill. It is unmounted even if the test fails.
package struct SmallDisk: ~Copyable, Sendable {
    package let path: String

    /// - Parameters:
    ///   - path: a directory; it is made if it is not there.
    ///   - size: as in mount(8), such as `8m`.
    package init(at path: String, size: String) async throws {
        self.path = path
        try Files.makeDirectory(path)
        let mounted = try await Tool("mount", ["-t", "tmpfs", "-o", "size=\(size)", "tmpfs", path]).run()
        guard mounted.succeeded else { throw Failure(reason: mounted.complaint) }
    }

    package func resize(to size: String) async throws {
        let changed = try await Tool("mount", ["-o", "remount,size=\(size)", path]).run()
        guard changed.succeeded else { throw Failure(reason: changed.complaint) }
    }

    private struct Failure: Error { var reason: String }

    /// A process that still has a file open there does not keep the disk (umount2(2), MNT_DETACH).
    deinit { umount2(path, Int32(MNT_DETACH)) }
}
