#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A second, hidden name of a socket somebody else listens on. Who removes a socket's name leaves its listener alive
/// with no way to it; by the other name the first can be given back.
///
/// Where the file system links no sockets (macOS), there is none.
package struct SpareName: Sendable {
    private let path: String
    private let spare: String

    package init(of path: String) {
        self.path = path
        let slash = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        spare = path[..<slash] + "." + path[slash...]
    }

    /// Gives a socket that has just been made its second name.
    package func keep() {
        guard Self.socket(path) != nil else { return }
        unlink(spare)
        _ = link(path, spare)
    }

    /// Gives the first name back; what somebody put there instead is moved aside.
    /// - Returns: something else had it, or nothing.
    @discardableResult
    package func restore() -> Bool {
        guard let mine = Self.socket(spare), Self.socket(path) != mine else { return false }
        var info = stat()
        if lstat(path, &info) == 0, Files.moveAside(path, to: path + ".aside") == nil { return false }
        return link(spare, path) == 0
    }

    /// The first name is that of the socket it was given to.
    package var isTrue: Bool { Self.socket(spare).map { $0 == Self.socket(path) } ?? false }

    package func remove() { unlink(spare) }

    /// Which socket a name, that is no link to another, stands for.
    private static func socket(_ path: String) -> [UInt64]? {
        var info = stat()
        guard lstat(path, &info) == 0, info.st_mode & S_IFMT == S_IFSOCK else { return nil }
        return [UInt64(info.st_dev), UInt64(info.st_ino)]
    }
}
