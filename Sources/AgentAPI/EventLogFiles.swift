import HostOS

/// The files that hold a run's events: the log, and its older part once the log was rotated.
package enum EventLogFiles {
    /// The path of the older part. That file can also be the log of the previous run.
    package static func older(_ path: String) -> String { path + ".1" }

    /// The lines of the last run, oldest first. An unfinished line is left out.
    /// - Parameter limit: the maximum number of bytes to read from each file.
    /// - Throws: `SystemCallError` if the log is missing or cannot be read.
    package static func lines(_ path: String, limit: Int = 1 << 30) throws(SystemCallError) -> [Substring] {
        let newer = wholeLines(try TextFile.read(path, limit: limit))
        let before = (try? TextFile.read(older(path), limit: limit)).map(wholeLines) ?? []
        let run = (newer.first ?? before.last).flatMap { EventRecord(line: $0.utf8) }?.run
        guard let run, before.last.flatMap({ EventRecord(line: $0.utf8) })?.run == run else { return newer }
        // The first lines of the newer file can repeat lines of the older one. Skip them.
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
