import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// An account of a lab with an instance of the mini guest, and the checks that tests make on both.
extension Lab {
    static let home = "/home/tester/.lima"
    static let binary = "/usr/local/bin/hostagent"
    /// The command as `tester` calls it. The mini guest lies where that account may read it.
    static var hostagent: String { "XDG_DATA_HOME=/opt/guests \(binary)" }

    /// Makes the account `tester`, the program where every account may run it, and an instance of the mini guest.
    /// - Parameter linger: the account's user manager runs from boot on.
    func prepare(instance: String, linger: Bool = true) async throws {
        try await put(Checkout.binary, into: "/usr/local/bin")
        try await put(Checkout.miniGuest, into: "/opt/guests/hostagent")
        let result = try await root(
            """
            set -e
            useradd --create-home --shell /bin/bash tester
            [ \(linger) = false ] || loginctl enable-linger tester
            chmod 755 \(Self.binary); chmod -R a+rX /opt/guests
            uid=$(id -u tester); n=0
            [ \(linger) = false ] || until [ -S /run/user/$uid/bus ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done
            """)
        #expect(result.succeeded, "\(result)")
        let created = try await user("tester", "\(Self.hostagent) create --name \(instance) mini")
        #expect(created.succeeded, "\(created)")
        // A small grace keeps a failing test short. The guest needs two seconds, or more when other guests run.
        try await write("\(Self.home)/\(instance)/hostagent.yaml", "stopGrace: 45s\n", owner: "tester")
    }

    func info(_ instance: String) async throws -> [String: Any] {
        let result = try await user("tester", "\(Self.hostagent) info \(instance)")
        return try #require(
            try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any], "\(result)")
    }

    func lastEvents(_ instance: String) async throws -> [EventRecord] {
        try await user("tester", "\(Self.hostagent) events \(instance)").output.split(separator: "\n")
            .compactMap { EventRecord(line: $0.utf8) }
    }

    /// A script that prints a unit's properties on one line, in this order. `show` alone uses an order of its own.
    static func show(_ properties: [String], _ unit: String, _ systemctl: String) -> String {
        "for p in \(properties.joined(separator: " ")); do \(systemctl) show -P $p '\(unit)'; done | xargs"
    }

    /// Runs a command as `tester`; the command must succeed.
    @discardableResult
    func tester(_ script: String, _ location: SourceLocation = #_sourceLocation) async throws -> String {
        let result = try await user("tester", script.replacing("hostagent ", with: Self.hostagent + " "))
        #expect(result.succeeded, "\(script): \(result)", sourceLocation: location)
        return result.output
    }

    /// Kills the agent of a unit of the system's manager.
    /// - Returns: whether the manager has another one within a minute, and it says that it is ready.
    func killAgent(of unit: String) async throws -> Bool {
        let agent = try await root("systemctl show -P MainPID \(unit)").output
        #expect(try await root("systemctl kill --kill-who=main -s KILL \(unit)").succeeded)
        return try await eventually(within: 60) {
            let now = try await root(Self.show(["MainPID", "ActiveState"], unit, "systemctl")).output
            return now.hasSuffix(" active\n") && !now.hasPrefix(agent.trimmed + " ") && !now.hasPrefix("0 ")
        }
    }

    // MARK: Writes

    /// Starts a program in the guest that counts. Each number is on disk before it is acknowledged to the host.
    func startCounting(_ instance: String) async throws {
        let loop =
            "n=0; while :; do n=$((n+1)); echo $n > /data/count.new && sync && mv /data/count.new /data/count && sync "
            + "&& echo $n || exit 1; done"
        try await tester(
            """
            rm -f ~/acknowledged
            setsid env hostagent shell \(instance) sh -c '\(loop)' > ~/acknowledged 2> /dev/null < /dev/null &
            n=0; until [ -s ~/acknowledged ] || [ $n -gt 100 ]; do sleep 0.1; n=$((n+1)); done
            """)
    }

    /// To be called after the guest ran again: no acknowledged number is lost, and the file system was left clean.
    func expectNothingLost(
        _ instance: String, after what: String, _ location: SourceLocation = #_sourceLocation
    ) async throws {
        let acknowledged = try await user("tester", "tail -n 1 ~/acknowledged").output.trimmed
        let kept = try await tester("hostagent shell \(instance) cat /data/count", location).trimmed
        let (said, there) = (Int(acknowledged) ?? -1, Int(kept) ?? -2)
        #expect(said > 0 && there >= said, "\(what): \(said) acknowledged, \(there) kept", sourceLocation: location)
        let log = try await tester("hostagent shell \(instance) sudo dmesg", location)
        #expect(!log.contains("recovery complete"), "\(what): the journal had to be replayed", sourceLocation: location)
    }
}
