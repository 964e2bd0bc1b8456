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

    /// Gives the socket its second name.
    package func keep() {
        unlink(spare)
        _ = link(path, spare)
    }

    /// Gives the first name back when nothing has it.
    /// - Returns: it was gone, and is there again.
    @discardableResult
    package func restore() -> Bool { Files.kind(path) == nil && link(spare, path) == 0 }

    package func remove() { unlink(spare) }
}
