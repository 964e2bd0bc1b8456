/// Reads how QEMU's human monitor lists the use of disks.
package enum BlockStatistics {
    /// Seconds since the last read or write, from the output of `info blockstats`. It has a line for each disk, with
    /// `rd_operations=12 … idle_time_ns=3400000000`.
    /// - Returns: nil when no disk has been used yet.
    package static func idleSeconds(inListing listing: String) -> Double? {
        listing.split(whereSeparator: \.isNewline).compactMap { line -> Double? in
            var values: [Substring: Double] = [:]
            for word in line.split(separator: " ") {
                let parts = word.split(separator: "=")
                if parts.count == 2 { values[parts[0]] = Double(parts[1]) }
            }
            // A disk that was never used also has an idle time of 0 ns.
            let uses = (values["rd_operations"] ?? 0) + (values["wr_operations"] ?? 0)
            return uses > 0 ? values["idle_time_ns"].map { $0 / 1e9 } : nil
        }.min()
    }
}
