import Foundation
import HostOS
import HostTestSupport
import Testing

/// A throwaway machine with a real systemd (scripts/lab). It is always taken down at the end.
struct Lab: ~Copyable, Sendable {
    let name: String
    private static var script: String { Checkout.root + "/scripts/lab" }

    /// The system whose files the lab uses.
    enum System: String, Sendable, CaseIterable, CustomTestStringConvertible {
        /// This machine: Debian 12, systemd 252.
        case debian12
        /// Debian 13, systemd 257 (scripts/build-lab-root).
        case debian13

        var testDescription: String { rawValue }

        fileprivate var variables: [String: String?] {
            self == .debian12 ? [:] : ["LAB_ROOT": Checkout.dataDirectory + "/hostagent/lab-trixie"]
        }
    }

    init(_ system: System) async throws {
        name = "t-\(HostProcess.pid)-\(UInt32.random(in: 0...99999))"
        let result = try await Tool(Self.script, ["up", name], environment: system.variables).run()
        guard result.succeeded else { throw LabError(text: result.output + result.error) }
    }

    struct LabError: Error {
        let text: String
    }

    /// Ends the lab. Must be called at the end of a test, because a `deinit` cannot wait.
    func down() async throws { _ = try await Tool(Self.script, ["down", name]).run() }

    /// Runs a shell script in the lab as root.
    func root(_ script: String) async throws -> Tool.Result {
        try await Tool(Self.script, ["exec", name, "sh", "-c", script]).run()
    }

    /// Runs a shell script in the lab as an account, with its user manager's environment.
    func user(_ account: String, _ script: String) async throws -> Tool.Result {
        try await Tool(Self.script, ["user", name, account, "sh", "-c", script]).run()
    }

    /// Writes a file in the lab.
    func write(_ path: String, _ text: String, owner: String = "root") async throws {
        let result = try await Tool(
            Self.script,
            ["exec", name, "sh", "-c", #"mkdir -p "$(dirname "$1")"; cat > "$1"; chown "$2" "$1""#, "sh", path, owner],
            input: text
        ).run()
        guard result.succeeded else { throw LabError(text: result.error) }
    }

    /// Copies a file or directory of this machine into a directory of the lab.
    func put(_ path: String, into directory: String) async throws {
        let result = try await Tool(Self.script, ["put", name, path, directory]).run()
        guard result.succeeded else { throw LabError(text: result.error) }
    }

    /// The ways in which a host goes down and comes up again.
    enum Cycle: String, CaseIterable {
        case reboot, poweroff
    }

    func reboot(by cycle: Cycle = .reboot) async throws {
        let result = try await Tool(Self.script, [cycle.rawValue, name]).run()
        guard result.succeeded else { throw LabError(text: result.error) }
    }

    /// Runs a test in a lab of its own.
    static func with(_ system: System = .debian12, _ body: (borrowing Lab) async throws -> Void) async throws {
        let lab = try await Lab(system)
        do {
            try await body(lab)
        } catch {
            let journal = try? await lab.root("journalctl -b --no-pager -n 60; cat /home/tester/.lima/*/ha.stderr.log")
            Issue.record("in the lab: \(error)\n\(journal?.output ?? "")")
        }
        try await lab.down()
    }
}
