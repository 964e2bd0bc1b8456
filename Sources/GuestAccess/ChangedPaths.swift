/// Paths within a mount, as bytes, in a form that the guest's shell can read: printf(1) turns each escape of `%b` into its
/// byte, and a space stands between two paths.
package struct ChangedPaths: Sendable, Equatable {
    /// A longer text takes the guest's shell long, because it reads a line byte by byte.
    private static let maximumLength = 3 << 10

    package let text: String

    package init(_ paths: [[UInt8]]) { text = paths.map(Self.escaped).joined(separator: " ") }

    /// Takes as many paths as one message can have, and at least one. A directory comes before what is in it.
    package static func batch(of waiting: inout Set<[UInt8]>) -> [[UInt8]] {
        var batch: [[UInt8]] = []
        var length = 0
        for path in waiting.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            length += escaped(path).utf8.count + 1
            guard length <= maximumLength || batch.isEmpty else { break }
            batch.append(path)
            waiting.remove(path)
        }
        return batch
    }

    private static func escaped(_ path: [UInt8]) -> String { path.isEmpty ? "." : PrintfText.escaped(path) }
}
