import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import Testing

/// `apply` with real guests.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct ApplyTests {
    private struct Result: Decodable {
        struct Failure: Decodable {
            var message: String
            var hint: String?
            var status: Int32
        }
        struct Instance: Decodable { var status: String }
        struct Difference: Decodable { var before: String, after: String }
        var name: String
        var changed: Bool
        var steps: [String]
        var keys: [String]
        var pendingRestart: [String]
        var withoutEffect: [String]
        var difference: Difference?
        var failure: Failure?
        var instance: Instance?
    }

    private func apply(
        _ home: borrowing TestHome, _ instances: String, dryRun: Bool = false
    ) async throws -> (results: [Result], status: Int32) {
        let document = "{\"instances\": [\(instances)]}"
        let result =
            dryRun
            ? try await home.run("apply", "--json", "--dry-run", "-", input: document)
            : try await home.run("apply", "--json", "-", input: document)
        let all = try JSONDecoder().decode([String: [Result]].self, from: Data(result.output.utf8))
        return (try #require(all["instances"], "\(result)"), result.status)
    }

    /// Predicts the steps, carries them out, and looks whether there are any left.
    @discardableResult
    private func converge(_ home: borrowing TestHome, _ instance: String) async throws -> Result {
        let predicted = try await apply(home, instance, dryRun: true).results[0]
        let real = try await apply(home, instance).results[0]
        #expect(real.failure == nil, "\(instance): \(real)")
        #expect(predicted.steps == real.steps && predicted.changed == real.changed, "\(instance)")
        #expect(predicted.keys == real.keys && predicted.pendingRestart == real.pendingRestart, "\(instance)")
        #expect(predicted.difference?.after == real.difference?.after, "\(instance)")
        if !instance.contains("restarted") {
            let again = try await apply(home, instance).results[0]
            #expect(again.steps == [] && !again.changed, "\(instance): \(again)")
        }
        return real
    }

    @Test func fromNothingToNothing() async throws {
        let home = try TestHome()
        let mini = #""name": "a", "template": "mini""#
        let created = try await converge(home, "{\(mini), \"state\": \"started\", \"config\": {\"message\": \"one\"}}")
        #expect(created.steps == ["create", "start"] && created.instance?.status == "Running")
        let yaml = home.directory("a") + "/lima.yaml"
        #expect(try TextFile.read(yaml).contains("# The smallest guest"))

        // The template counts only when the instance is made.
        let live = try await converge(home, "{\(mini), \"config\": {\"message\": \"two\"}}")
        #expect(live.steps == ["configure", "reload"] && live.keys == ["message"] && live.pendingRestart == [])
        #expect(live.difference?.before.contains("one") == true && live.difference?.after.contains("two") == true)

        let waiting = try await converge(home, "{\(mini), \"config\": {\"memory\": \"192MiB\"}}")
        #expect(waiting.steps == ["configure", "reload"] && waiting.pendingRestart == ["memory"])
        let restarted = try await converge(
            home, "{\(mini), \"config\": {\"memory\": \"192MiB\"}, \"apply\": \"restart\"}")
        #expect(restarted.steps == ["restart"] && restarted.pendingRestart == [])
        let silent = try await converge(
            home, "{\(mini), \"config\": {\"message\": \"three\"}, \"apply\": \"none\"}")
        #expect(silent.steps == ["configure"])
        // What was left then is done now.
        #expect(try await converge(home, "{\(mini)}").steps == ["reload"])

        #expect(try await converge(home, "{\(mini), \"state\": \"stopped\"}").steps == ["stop"])
        #expect(
            try await converge(home, #"{"name": "a", "param": {"p": "1"}, "state": "stopped"}"#).steps == ["configure"])
        #expect(try await converge(home, #"{"name": "a", "config": {"param": null}}"#).keys == ["param"])
        #expect(try await converge(home, #"{"name": "a", "state": "absent"}"#).steps == ["delete"])
    }

    /// The next run finishes what was cut.
    @Test func aRunThatIsKilledInTheMiddle() async throws {
        let home = try TestHome()
        let first = #"{"name": "a", "template": "mini", "state": "started"}"#
        let document = "{\"instances\": [\(first)]}"
        let path = home.path + "/document"
        try TextFile.replace(path, with: document)
        let process = DetachedProcess(
            executable: Checkout.binary, arguments: ["apply", path],
            environment: ProcessInfo.processInfo.environment.merging(
                ["LIMA_HOME": home.path, "XDG_DATA_HOME": Checkout.dataDirectory]
            ) { $1 }, output: .null, error: .append(path: home.path + "/log"))
        let identity = ProcessIdentity.of(pid: try process.spawn())
        let directory = home.directory("a")
        #expect(await eventually(within: 60) { Files.kind(directory + "/guest.json") != nil })
        identity?.signal(9)
        _ = await identity?.waitUntilEnded()
        let result = try await apply(home, first).results[0]
        #expect(result.failure == nil && result.instance?.status == "Running", "\(result)")
        #expect(try await apply(home, first).results[0].steps == [])
        try await home.succeeds("delete", "--force", "a")
    }

    /// Random ways between the states, each predicted.
    @Test func randomWays() async throws {
        let home = try TestHome()
        var random = Fuzz.Generator(seed: 20)
        let states = ["present", "started", "stopped", "restarted", "absent"]
        let changes = [
            "{}", #"{"message": "m1"}"#, #"{"message": null}"#, #"{"memory": "192MiB"}"#, #"{"memory": "256MiB"}"#,
        ]
        for _ in 0..<24 {
            let state = states.randomElement(using: &random) ?? ""
            let change = changes.randomElement(using: &random) ?? ""
            let reach = ["none", "live", "restart"].randomElement(using: &random) ?? ""
            try await converge(
                home,
                #"{"name": "a", "template": "mini", "state": "\#(state)", "config": \#(change), "apply": "\#(reach)"}"#)
        }
        try await converge(home, #"{"name": "a", "state": "absent"}"#)
    }

    @Test func startsThatAreNotWaitedFor() async throws {
        let home = try TestHome()
        let instances = #"{"name": "a", "template": "mini", "state": "started", "wait": false}"#
        let result = try await apply(home, instances).results[0]
        #expect(result.steps == ["create", "start"] && result.failure == nil)
        // It returns when the machine runs. A guest boots for two seconds or more.
        #expect(try !home.events("a").contains { $0.phase == .running })
        try await home.succeeds("start", "a")
        try await home.succeeds("delete", "--force", "a")
    }

    /// The failure of one instance does not concern the others, and has the sentence, the hint and the status of the
    /// command that fails alike.
    @Test func failures() async throws {
        let home = try TestHome()
        let (results, status) = try await apply(
            home,
            """
            {"name": "wrong", "template": "mini", "config": {"cpus": "many", "nonsense": 1}},
            {"name": "missing", "state": "started"},
            {"name": "good", "template": "mini"},
            {"name": "where", "template": "/nonexistent.yaml"}
            """)
        #expect(results.map(\.name) == ["wrong", "missing", "good", "where"] && status == 65)
        #expect(results[0].failure?.status == 65 && results[0].failure?.message.contains("nonsense") == true)
        #expect(results[0].failure?.message.contains("cpus: expected a whole number") == true)
        #expect(results[1].failure?.status == 66 && results[1].failure?.hint == "give a template or a config")
        #expect(results[2].failure == nil && results[2].steps == ["create"])
        #expect(results[3].failure?.status == 69, "\(results[3])")
        #expect(try Files.names(in: home.path).filter { !$0.hasPrefix("_") } == ["good"])

        // A wrong change leaves the file as it is.
        let before = try TextFile.read(home.directory("good") + "/lima.yaml")
        let wrong = try await apply(home, #"{"name": "good", "config": {"memory": "much"}}"#)
        #expect(wrong.status == 65 && wrong.results[0].changed == false)
        #expect(try TextFile.read(home.directory("good") + "/lima.yaml") == before)
        try await home.succeeds("protect", "good")
        let refused = try await apply(home, #"{"name": "good", "state": "absent"}"#)
        #expect(refused.status == 77 && refused.results[0].failure?.hint == "hostagent unprotect good")
        try await home.succeeds("unprotect", "good")

        // For people.
        let said = try await home.run("apply", "-", input: "instances: [{name: good, state: absent}, {name: x}]")
        #expect(said.output == "good: deleted\nx: failed\n" && said.status == 66, "\(said)")
        #expect(said.error.contains("hostagent: x: there is no instance \"x\""))
        let faulty = try await home.run("apply", "-", input: "instances: [{nam: a}]")
        #expect(faulty.status == 65 && faulty.error.contains("standard input:1:14"), "\(faulty)")
        let nothing = try await home.run("apply", "/nonexistent")
        #expect(nothing.status == 69 && nothing.error.contains("there is no file"), "\(nothing)")
    }
}
