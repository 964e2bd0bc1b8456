import Foundation
import HostModel

/// A message from the guest over its channel.
package enum ChannelMessage: Sendable, Equatable {
    case provisioning
    case ready
    case log(line: String)
    /// Something in the guest is not as the configuration wants it.
    case warning(String)
    /// The guest was set up with the seed of this identity, and can boot again without being set up.
    case applied(seed: String)
    case provisioningFailed(mode: String, script: String, status: Int)
    /// The mount of this number is there, or is not and why.
    case mount(Int, MountReport)
    /// The guest has let its programs know what the host has changed in the mount of this number.
    case changesTold(Int)
    /// Something accepts connections, or does not any more.
    case listeners(ListenerReport)
    /// Messages were lost, among them perhaps some about listeners.
    case overflow
    /// Something was dropped. Reported once.
    case dropped(reason: String)
}

/// What the guest tells of a mount.
package enum MountReport: Sendable, Equatable {
    case mounted(MountType)
    /// The guest has unmounted it, because the host has taken it away.
    case unmounted
    /// The guest cannot mount it this way, and tries another.
    case refused(MountType, reason: String)
    case failed(reason: String)
}

/// Turns the bytes of the guest channel into messages. The guest is not trusted: lines are limited in length and rate,
/// and lines that cannot be understood are dropped with one warning.
package struct ChannelParser: Sendable {
    /// The longest line in bytes.
    package static let maximumLine = 4096
    /// Lines a second that are accepted. The cloud-init log of a boot comes in bursts of several hundred.
    package static let maximumRate = 1000

    /// Bytes of log lines that are accepted in one run, because they end up on the host's disk. The cloud-init log of a
    /// boot has about 100 KB.
    package static let logBudget = 16 << 20

    /// Warnings that are accepted in one run.
    package static let maximumWarnings = 20

    /// Reports about mounts that are accepted at once: more than a guest can have mounts, and a few reboots. Beyond that, one
    /// a second is accepted. Each is an event.
    package static let maximumMountReports = 100

    private var mountAllowance = Double(maximumMountReports)
    private var lastMountReport = 0.0
    private var warnings = 0
    private var logBytes = 0
    private var line: [UInt8] = []
    private var discarding = false
    private var warned = false
    private var windowStart = 0.0
    private var linesInWindow = 0
    private var hasOverflowed = false

    package init() {}

    /// - Parameter now: seconds of a clock that never runs backwards.
    package mutating func feed(_ bytes: some Sequence<UInt8>, now: Double) -> [ChannelMessage] {
        var messages: [ChannelMessage] = []
        for byte in bytes {
            if byte != UInt8(ascii: "\n") {
                if line.count < Self.maximumLine {
                    line.append(byte)
                } else {
                    discarding = true
                }
                continue
            }
            if let message = endLine(now: now) { messages.append(message) }
        }
        return messages
    }

    private mutating func endLine(now: Double) -> ChannelMessage? {
        defer {
            line.removeAll(keepingCapacity: line.capacity <= Self.maximumLine)
            discarding = false
        }
        if now - windowStart >= 1 {
            windowStart = now
            linesInWindow = 0
            hasOverflowed = false
        }
        linesInWindow += 1
        if linesInWindow > Self.maximumRate {
            return drop("more than \(Self.maximumRate) lines a second") ?? overflow()
        }
        if discarding { return drop("a line of more than \(Self.maximumLine) bytes") ?? overflow() }
        if line.isEmpty { return nil }
        guard let wire = try? JSONDecoder().decode(Wire.self, from: Data(line)), let message = wire.message else {
            return drop("a line that is not a message")
        }
        if case .log = message {
            logBytes += line.count
            if logBytes > Self.logBudget { return drop("more than \(Self.logBudget >> 20) MiB of log") }
        }
        if case .mount = message {
            mountAllowance = min(Double(Self.maximumMountReports), mountAllowance + max(0, now - lastMountReport))
            lastMountReport = now
            guard mountAllowance >= 1 else { return drop("too many reports about mounts") }
            mountAllowance -= 1
        }
        if case .warning = message {
            warnings += 1
            if warnings > Self.maximumWarnings { return drop("more than \(Self.maximumWarnings) warnings") }
        }
        return message
    }

    /// One a second stands for all.
    private mutating func overflow() -> ChannelMessage? {
        defer { hasOverflowed = true }
        return hasOverflowed ? nil : .overflow
    }

    private mutating func drop(_ what: String) -> ChannelMessage? {
        if warned { return nil }
        (warned, hasOverflowed) = (true, true)
        return .dropped(reason: "the guest sent \(what) over its channel; such lines are dropped")
    }

    private struct Wire: Decodable {
        var type: String
        var stage: String?
        var line: String?
        var mode: String?
        var script: String?
        var status: Int?
        var seed: String?
        var part: String?
        var port: Int?
        var sockets: String?
        var onlyIPv6: String?
        var mount: Int?
        var `as`: String?

        var message: ChannelMessage? {
            switch type {
            case "stage": stage == "provisioning" ? .provisioning : nil
            case "ready": .ready
            case "applied": seed.map { .applied(seed: Self.printable($0)) }
            case "warning": line.map { .warning("in the guest: " + Self.printable($0)) }
            case "ports":
                ListenerReport(part: part, port: port, sockets: sockets, onlyIPv6: onlyIPv6).map { .listeners($0) }
            case "mount": mountReport
            case "changed": mount.map { .changesTold($0) }
            case "log": line.map { .log(line: Self.printable($0)) }
            case "provision-failed":
                .provisioningFailed(
                    mode: Self.printable(mode ?? ""), script: Self.printable(script ?? ""), status: status ?? -1)
            default: nil
            }
        }

        private var mountReport: ChannelMessage? {
            guard let mount else { return nil }
            if let type = `as` {
                if type == "none" { return .mount(mount, .unmounted) }
                guard let type = MountType(rawValue: type) else { return nil }
                let reason = line.map(Self.printable)
                return .mount(mount, reason.map { .refused(type, reason: $0) } ?? .mounted(type))
            }
            return line.map { .mount(mount, .failed(reason: Self.printable($0))) }
        }

        /// Removes control characters, because the text is shown on terminals.
        static func printable(_ text: String) -> String {
            String(String.UnicodeScalarView(text.unicodeScalars.filter { $0.value >= 32 && $0.value != 127 }))
        }
    }
}
