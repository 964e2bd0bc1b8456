import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Many commands at the same time, and commands that are killed at arbitrary points.
@Suite(.serialized, .enabled(if: Checkout.canBootGuests), .guestSlot)
struct ConcurrencyTests {
    /// Statuses that say why a command cannot be carried out now: failed (stopped by another), unavailable, gone,
    /// taken, held.
    private static let refusals: Set<Int32> = [1, 3, 64, 66, 69, 73, 75]

    private func runAll(_ home: borrowing TestHome, _ commands: [[String]]) async -> [(String, Tool.Result)] {
        let tools = commands.map { home.tool($0) }
        return await withTaskGroup(of: (String, Tool.Result)?.self) { group in
            for tool in tools {
                group.addTask { (try? await tool.run()).map { (tool.arguments.joined(separator: " "), $0) } }
            }
            var results: [(String, Tool.Result)] = []
            for await result in group { if let result { results.append(result) } }
            return results
        }
    }

    /// `list` must be true: there is a process for a guest that runs, and none for a guest that does not.
    private func expectConsistency(_ home: borrowing TestHome, after what: String) async throws {
        let list = try await home.run("list", "--format", "{{.Status}}")
        #expect(list.succeeded, "\(what): \(list)")
        let guests = try await Tool("pgrep", ["-c", "-f", "^[^ ]*qemu-system.*\(home.path)/"]).run().output.trimmed
        let expected = list.output.trimmed == "Running" || list.output.trimmed == "Degraded" ? "1" : "0"
        #expect(guests == expected, "\(what): \(list.output.trimmed), \(guests) guests")
        let names = try Files.names(in: home.path) + ((try? Files.names(in: home.directory("mini"))) ?? [])
        #expect(!names.contains { $0.hasSuffix(".new") || $0.hasPrefix(".creating") || $0 == "edit.lock" }, "\(names)")
    }

    @Test func twentyCommandsAtOnce() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let start = ["start", "mini"], stop = ["stop", "mini"], list = ["list"]
        let edits = (1...4).map { ["edit", "mini", "--set", "cpus=\($0)"] }
        let rounds: [[[String]]] = [
            Array(repeating: start, count: 10) + Array(repeating: list, count: 6) + edits,
            [start, stop, start, stop, start, stop, start, stop, start, stop] + edits
                + Array(repeating: list, count: 6),
            [start, start, start, stop, stop, stop] + Array(repeating: ["delete", "--force", "mini"], count: 4) + edits
                + Array(repeating: list, count: 6),
        ]
        for (number, commands) in rounds.enumerated() {
            let results = await runAll(home, commands)
            #expect(results.count == 20)
            for (command, result) in results where !result.succeeded {
                let isSaid = Self.refusals.contains(result.status) && result.error.contains("hostagent: ")
                #expect(isSaid, "round \(number), \(command): \(result)")
            }
            for (command, result) in results where command == "list" { #expect(result.succeeded, "\(result)") }
            // Everything has finished, except for a guest that a start left running.
            let settled = try await eventually(within: 60) {
                let status = try await home.run("list", "--format", "{{.Status}}").output.trimmed
                return ["Running", "Stopped", "Failed", ""].contains(status)
            }
            #expect(settled)
            try await expectConsistency(home, after: "round \(number)")
        }
        if Files.kind(home.directory("mini")) == nil { try await home.succeeds("create", "mini") }
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        try await home.succeeds("stop", "mini")
        try await expectConsistency(home, after: "all")
    }

    /// Two guests want one port at the same moment. One gets it; the other says so, and starts when it is free.
    @Test func twoGuestsThatWantOnePort() async throws {
        let home = try TestHome()
        let port = try LoopbackPort.free()
        for name in ["one", "two"] {
            try await home.succeeds("create", "--name", name, "--ssh-port", String(port), "mini")
        }
        let results = await runAll(home, [["start", "one"], ["start", "two"]])
        let (winners, losers) = (results.filter { $0.1.succeeded }, results.filter { !$0.1.succeeded })
        #expect(winners.count == 1 && losers.count == 1, "\(results)")
        let loser = try #require(losers.first)
        #expect(loser.1.status == 69 && loser.1.error.contains(String(port)), "\(loser)")
        let (first, second) = loser.0 == "start two" ? ("one", "two") : ("two", "one")
        #expect(try await home.run("list", "--format", "{{.Status}}", first).output == "Running\n")
        #expect(try await home.run("list", "--format", "{{.Status}}", second).output == "Failed\n")
        try await home.succeeds("shell", first, "true")
        try await home.succeeds("stop", first)
        try await home.succeeds("start", second)
        try await home.succeeds("stop", second)
    }

    /// A start that is requested during a stop is carried out after it, as a manager does it.
    @Test func aStartDuringAStop() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let stop = home.tool(["stop", "mini"])
        async let stopping = stop.run()
        let isStopping = try await eventually(within: 20) {
            try await home.run("list", "--format", "{{.Status}}").output == "Stopping\n"
        }
        #expect(isStopping)
        let started = try await home.run("start", "mini")
        #expect(started.succeeded && started.error.contains("waiting for that"), "\(started)")
        #expect(try await stopping.succeeded)
        try await home.succeeds("stop", "mini")
    }

    /// The next command cleans up after a killed one, whatever the killed one was doing.
    @Test func commandsThatAreKilledAnywhere() async throws {
        let home = try TestHome()
        var random = SystemRandomNumberGenerator()
        let verbs = [
            ["create", "mini"], ["create", "mini"], ["start", "mini"], ["start", "mini"],
            ["edit", "mini", "--set", "cpus=1"],
            ["restart", "mini"], ["stop", "mini"], ["delete", "--force", "mini"],
        ]
        var story: [String] = []
        for _ in 0..<40 {
            let verb = verbs.randomElement(using: &random) ?? []
            let milliseconds = Int.random(in: 0...700, using: &random)
            let tool = home.tool(verb)
            // timeout(1) kills the command itself. An agent that the command started lives on, or the test kills it at
            // random.
            let killed = Tool(
                "timeout", ["-s", "KILL", "\(Double(milliseconds) / 1000)", tool.executable] + verb,
                environment: tool.environment)
            _ = try await killed.run()
            story.append("\(verb.joined(separator: " ")) killed after \(milliseconds) ms")
            if Bool.random(using: &random) {
                let pid = (try? TextFile.read(home.directory("mini") + "/ha.pid")).flatMap { Int32($0.trimmed) }
                if let agent = pid.flatMap({ ProcessIdentity.of(pid: $0) }) {
                    agent.signal(9)
                    _ = await agent.waitUntilEnded()
                    story.append("agent killed")
                }
            }
            let list = try await home.run("list")
            #expect(list.succeeded, "\(story): \(list)")
        }
        let exists = Files.kind(home.directory("mini") + "/lima.yaml") != nil
        if !exists { #expect(try await home.run("create", "mini").succeeded, "\(story)") }
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(story): \(started)")
        try await home.succeeds("shell", "mini", "true")
        try await home.succeeds("stop", "mini")
        try await expectConsistency(home, after: "\(story)")
        let hidden = try Files.names(in: home.path).filter { $0.hasPrefix(".creating") || $0.hasPrefix(".deleting") }
        #expect(hidden == [], "\(story)")
    }
}
