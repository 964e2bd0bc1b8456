/// Names of unfinished files. They cannot be mistaken for somebody's file, and two processes never use the same one.
/// Each name says which process made it, so what a killed process left is recognised by its name alone.
package enum TemporaryName {
    private static let prefix = ".hostagent-tmp-"

    /// A unique name: `.hostagent-tmp-PID-START-RANDOM`.
    package static func make() -> String { prefix + owner + "-" + String(UInt64.random(in: 0 ... .max), radix: 16) }

    /// A path for an unfinished version of this file, in the same directory.
    package static func path(beside file: String) -> String {
        let slash = file.lastIndex(of: "/").map { file.index(after: $0) } ?? file.startIndex
        return file[..<slash] + make()
    }

    /// Creates a file atomically: it is made under a temporary name, then synced and renamed.
    /// - Parameter make: creates the file or directory at the path it is given.
    /// - Throws: what `make` throws, or `SystemCallError`. Nothing is left behind then.
    package static func making(_ file: String, _ make: (String) async throws -> Void) async throws {
        let temporary = path(beside: file)
        do {
            try await make(temporary)
            try Files.moveSynced(temporary, to: file)
        } catch {
            try? Files.remove(temporary)
            throw error
        }
    }

    /// This process as it appears in the names: pid and start time.
    package static let owner = "\(HostProcess.pid)-\(ProcessIdentity.of(pid: HostProcess.pid)?.startTime ?? 0)"

    /// Whether this is a temporary name whose process is gone.
    package static func isAbandoned(_ name: String) -> Bool {
        let parts = name.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard name.hasPrefix(prefix), parts.count == 3, UInt64(parts[2], radix: 16) != nil else { return false }
        return isGone(pid: parts[0], startTime: parts[1])
    }

    /// Whether no process has this pid and start time.
    package static func isGone(pid: Substring, startTime: Substring) -> Bool {
        guard let pid = Int32(pid), pid > 0, let start = UInt64(startTime) else { return false }
        return ProcessIdentity.of(pid: pid)?.startTime != start
    }
}
