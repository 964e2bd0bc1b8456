import HostOS

/// The files that a run's events are in: the log, and an older part of it once the log has become long.
package enum EventLogFiles {
    /// Where the older part is. It can also be the log of the run before.
    package static func older(_ path: String) -> String { path + ".1" }

    /// The lines of the last run, oldest first. A line that was never finished is left out.
    /// - Parameter limit: bytes of each file that are read.
    /// - Throws: `SystemCallError` when there is no log, or it cannot be read.
    package static func lines(_ path: String, limit: Int = 1 << 30) throws(SystemCallError) -> [Substring] {
        let newer = wholeLines(try TextFile.read(path, limit: limit))
        let before = (try? TextFile.read(older(path), limit: limit)).map(wholeLines) ?? []
        let run = (newer.first ?? before.last).flatMap { EventRecord(line: $0.utf8) }?.run
        guard let run, before.last.flatMap({ EventRecord(line: $0.utf8) })?.run == run else { return newer }
        // Lines that stand first in the newer file are repeated from the older one.
        let last = before.last.flatMap { EventRecord.seq(ofLine: Array($0.utf8)[...]) } ?? 0
        return before + newer.filter { (EventRecord.seq(ofLine: Array($0.utf8)[...]) ?? 0) > last }
    }

    private static func wholeLines(_ text: String) -> [Substring] {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        // The text after the last line end is empty or an unfinished line.
        lines.removeLast()
        return lines.filter { !$0.isEmpty }
    }
}
