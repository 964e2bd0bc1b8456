#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A second, hidden name (a hard link) of a socket that somebody else listens on. When a socket's name is removed, its
/// listener lives on but cannot be reached. The first name can be restored from the hidden one.
///
/// On file systems that cannot link sockets (macOS), there is no hidden name.
package struct HiddenSocketName: Sendable {
    private let path: String
    private let hidden: String

    package init(of path: String) {
        self.path = path
        let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        hidden = path[..<slash] + "." + path[slash...]
    }

    /// Gives a newly created socket its hidden name.
    package func keep() {
        guard Self.socket(path) != nil else { return }
        unlink(hidden)
        _ = link(path, hidden)
    }

    /// Restores the first name. Anything else that has this name is moved aside.
    /// - Returns: true when the first name was missing or led to something else, and has been restored.
    @discardableResult
    package func restore() -> Bool {
        guard let mine = Self.socket(hidden), Self.socket(path) != mine else { return false }
        var info = stat()
        if lstat(path, &info) == 0, Files.moveAside(path, to: path + ".aside") == nil { return false }
        return link(hidden, path) == 0
    }

    /// Whether the first name still leads to the socket that has the hidden name.
    package var isIntact: Bool { Self.socket(hidden).map { $0 == Self.socket(path) } ?? false }

    package func remove() { unlink(hidden) }

    /// Identifies the socket with this name; nil when there is none. Symbolic links are not followed.
    private static func socket(_ path: String) -> [UInt64]? {
        var info = stat()
        guard lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFSOCK else { return nil }
        return [UInt64(info.st_dev), UInt64(info.st_ino)]
    }
}
