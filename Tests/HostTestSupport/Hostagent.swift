import AgentAPI
import HostModel
import HostOS
import InstanceStore
import Testing

/// A test's own home for instances, on which the real `hostagent` works. Everything that it leaves running is killed at
/// the end.
package struct TestHome: ~Copyable, Sendable {
    package let scratch: Scratch
    private let dataDirectory: String

    package init() throws {
        scratch = try Scratch()
        dataDirectory = Checkout.dataDirectory
    }

    package var path: String { scratch.path }

    deinit {
        for name in (try? Files.names(in: path)) ?? [] {
            for file in ["ha.pid", "qemu.pid"] {
                let pid = (try? TextFile.read("\(path)/\(name)/\(file)")).flatMap { Int32($0.trimmed) }
                if let pid { _ = ProcessIdentity.of(pid: pid)?.signal(9) }
            }
        }
    }

    /// Runs a command and waits for its end.
    package func run(
        _ arguments: String..., input: String? = nil, environment: [String: String?] = [:]
    ) async throws -> Tool.Result {
        try await Tool(Checkout.binary, arguments, input: input, environment: variables(environment)).run()
    }

    /// Runs a command that must succeed. A failure shows what it said.
    package func succeeds(
        _ arguments: String..., input: String? = nil, environment: [String: String?] = [:],
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let result = try await Tool(Checkout.binary, arguments, input: input, environment: variables(environment)).run()
        #expect(result.succeeded, "\(arguments): \(result)", sourceLocation: sourceLocation)
    }

    package func tool(_ arguments: [String], environment: [String: String?] = [:]) -> Tool {
        Tool(Checkout.binary, arguments, environment: variables(environment))
    }

    private func variables(_ more: [String: String?]) -> [String: String?] {
        var all: [String: String?] = ["LIMA_HOME": path, "XDG_DATA_HOME": dataDirectory, "NOTIFY_SOCKET": nil]
        for (name, value) in more { all[name] = value }
        return all
    }

    package func directory(_ name: String) -> String { "\(path)/\(name)" }

    /// The events of the last run.
    package func events(_ name: String) throws -> [EventRecord] {
        try TextFile.read("\(path)/\(name)/ha.stdout.log").split(separator: "\n").compactMap {
            EventRecord(line: $0.utf8)
        }
    }
}

/// Waits for a condition that no event reports to a test, by checking it in short steps.
/// - Returns: false if it did not become true within `seconds`.
package func eventually(within seconds: Int, _ condition: () async throws -> Bool) async rethrows -> Bool {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(20))
    }
    return false
}

/// Runs a script as root in the guest `mini`, which may have no agent.
/// - Returns: what it wrote, errors first.
package func inGuest(_ script: String, of home: borrowing TestHome) async throws -> String {
    let ssh = Tool("ssh", ["-F", home.directory("mini") + "/ssh.config", "lima-mini", "sudo sh"], input: script)
    let result = try await ssh.run()
    return result.error + result.output
}
