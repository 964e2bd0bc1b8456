import HostModel
import LimaConfiguration

/// Renders the progress of downloads for people.
package struct DownloadText: Sendable {
    /// One measurement: seconds of a clock that only goes forward, and bytes.
    private struct Sample: Sendable {
        var time: Double
        var bytes: Int
    }
    private var address = ""
    /// The measurements of the last seconds, from which the rate follows.
    private var samples: [Sample] = []
    private static let window = 5.0

    package init() {}

    /// The line that is redrawn while a file arrives; nil when nothing is under way.
    /// - Parameters:
    ///   - now: seconds of a clock that only goes forward.
    ///   - width: columns of the terminal.
    package mutating func line(_ progress: TransferProgress, now: Double, width: Int) -> String? {
        if progress.address != address {
            address = progress.address
            samples = []
        }
        switch progress.state {
        case .complete, .unconfirmed: return nil
        case .interrupted(let reason, let pause):
            samples = []
            return String("\(Self.name(address))  \(reason); trying again in \(pause) s".prefix(width))
        case .receiving, .followed: break
        }
        samples.append(Sample(time: now, bytes: progress.received))
        samples.removeAll { $0.time < now - Self.window }
        var parts = [Self.name(address)]
        if let total = progress.total, total > 0 {
            let share = min(1, Double(progress.received) / Double(total))
            let percent = "\(Int(share * 100))%"
            parts.append(Self.bar(share) + String(repeating: " ", count: 5 - percent.count) + percent)
            parts.append("\(ByteCount.format(progress.received)) of \(ByteCount.format(total))")
        } else {
            parts.append(ByteCount.format(progress.received))
        }
        if let rate {
            parts.append("\(ByteCount.format(Int(rate)))/s")
            if let total = progress.total, rate >= 1 {
                parts.append("\(Self.duration(Double(total - progress.received) / rate)) left")
            }
        }
        if progress.state == .followed { parts.append("(another process downloads it)") }
        // The line loses its last parts on a narrow terminal, never half of one.
        while parts.count > 1, parts.joined(separator: "  ").count > width { parts.removeLast() }
        return String(parts.joined(separator: "  ").prefix(width))
    }

    /// What stays on the terminal or in a log when a transfer begins, breaks off or ends.
    package static func sentence(_ progress: TransferProgress) -> String {
        let size = progress.total.map { " (\(ByteCount.format($0)))" } ?? ""
        return switch progress.state {
        case .receiving: "downloading \(progress.address)\(size)"
        case .followed: "another process downloads \(progress.address)\(size); waiting for it"
        case .interrupted(let reason, let pause): "\(reason); trying again in \(pause) s"
        case .unconfirmed(let reason): "\(reason); using what was downloaded before"
        case .complete: "downloaded \(progress.address)\(size)"
        }
    }

    /// Bytes a second in the last seconds; nil before there is something to measure.
    private var rate: Double? {
        guard let first = samples.first, let last = samples.last, last.time - first.time >= 0.5 else { return nil }
        return Double(last.bytes - first.bytes) / (last.time - first.time)
    }

    private static func bar(_ share: Double) -> String {
        let width = 24
        let full = Int(share * Double(width))
        return "[" + String(repeating: "=", count: full) + String(repeating: " ", count: width - full) + "]"
    }

    /// The last part of an address.
    private static func name(_ address: String) -> String {
        let path = address.prefix { $0 != "?" && $0 != "#" }
        return String((path.split(separator: "/").last ?? path).prefix(40))
    }

    private static func duration(_ seconds: Double) -> String {
        let whole = Int(min(seconds, 359_999).rounded(.up))
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        return "\(whole / 3600) h \(whole / 60 % 60) min"
    }
}
