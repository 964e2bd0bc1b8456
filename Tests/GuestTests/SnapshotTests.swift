import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import Testing

@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct SnapshotTests {
    /// A mini guest with a disk beside its own, and a file on its own that is in the first snapshot.
    private func home() async throws -> TestHome {
        let home = try TestHome()
        try await home.succeeds("disk", "create", "data", "--size", "64MiB")
        let mini = try #require(InstanceTemplate.text("mini", environment: ["XDG_DATA_HOME": Checkout.dataDirectory]))
        let yaml = mini + "additionalDisks: [{name: data, format: false}]\n"
        let created = try await home.run("create", "--name", "vm", "-", input: yaml)
        #expect(created.succeeded, "\(created)")
        return home
    }

    /// Fills memory of the guest with what cannot be left out of a snapshot.
    private static let ballast = "head -c 60000000 /dev/urandom > /tmp/ballast"

    private func info(_ home: borrowing TestHome) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory("vm") + "/ha.sock").info()
    }

    private func shell(_ home: borrowing TestHome, _ script: String, instance: String = "vm") async throws -> String {
        let result = try await home.run("shell", instance, "sh", "-c", script)
        #expect(result.succeeded, "\(script): \(result)")
        return result.output
    }

    private func tags(_ home: borrowing TestHome) async throws -> String {
        try await home.run("snapshot", "list", "-q", "vm").output
    }

    @Test func aRunningGuestGoesBackToASnapshot() async throws {
        let home = try await home()
        try await home.succeeds("snapshot", "create", "vm", "--tag", "first")
        try await home.succeeds("start", "vm")
        let before = try await info(home)
        // The number in memory shows that the guest goes on from there.
        _ = try await shell(
            home, "echo old > /data/file; echo old > /tmp/memory; sync; sudo sh -c 'echo old > /dev/vdc'")
        let tag = "before, the \"change\""
        let taken = try await home.run("snapshot", "create", "vm", "--tag", tag)
        #expect(taken.output == "created the snapshot \(tag) of vm\n", "\(taken)")
        #expect(try await home.run("snapshot", "save", "vm", "--tag", tag).status == 73, "the tag is taken")
        _ = try await shell(
            home, "echo new > /data/file; echo new > /tmp/memory; sync; sudo sh -c 'echo new > /dev/vdc'")

        let applied = try await home.run("snapshot", "apply", "vm", "--tag", tag)
        #expect(applied.output == "applied the snapshot \(tag) of vm\n" && applied.error.isEmpty, "\(applied)")
        let state = "cat /data/file /tmp/memory; sudo sh -c 'head -n 1 /dev/vdc'"
        #expect(try await shell(home, state) == "old\nold\nold\n")
        let after = try await info(home)
        #expect(after.guestPID == before.guestPID && after.state == .running && after.run == before.run)
        // The clock of the guest is the host's again.
        let isOnTime = try await eventually(within: 20) {
            let now = Int(try await home.run("shell", "vm", "date", "+%s").output.trimmed) ?? 0
            return abs(now - Int(Date.now.timeIntervalSince1970)) <= 3
        }
        #expect(isOnTime)
        let changes = try home.events("vm").compactMap { record -> String? in
            guard case .snapshot(let snapshot) = record.event else { return nil }
            return "\(snapshot.change.rawValue) \(snapshot.tag)"
        }
        #expect(changes == ["create \(tag)", "apply \(tag)"])
        // The first one was taken before the guest ran, and has nothing for it to go on from.
        let disks = try await home.run("snapshot", "apply", "vm", "--tag", "first")
        #expect(disks.status == 69 && disks.error.contains("without memory"), "\(disks)")
        try await home.succeeds("snapshot", "delete", "vm", "--tag", "first")
        let listed = try await home.run("snapshot", "list", "--json", "vm")
        let row = try JSONDecoder().decode(DiskSnapshot.self, from: Data(listed.output.utf8))
        #expect(row.tag == tag && row.memory > 1 << 20 && abs(row.seconds - Int(Date.now.timeIntervalSince1970)) < 900)

        // The clone of a running instance has the disk of the snapshot, and an identity of its own.
        _ = try await shell(home, "echo newer > /data/file; sync")
        try await home.succeeds("clone", "vm", "copy")
        let yaml = home.directory("copy") + "/lima.yaml"
        try TextFile.replace(
            yaml, with: try TextFile.read(yaml).replacing("additionalDisks: [{name: data, format: false}]", with: ""))
        try await home.succeeds("start", "copy")
        #expect(try await shell(home, "cat /data/file", instance: "copy") == "old\n")
        try await home.succeeds("stop", "copy")

        for (verb, status) in [("apply", Int32(69)), ("delete", 69)] {
            let missing = try await home.run("snapshot", verb, "vm", "--tag", "none")
            #expect(missing.status == status && missing.error.contains("there is no snapshot \"none\""), "\(missing)")
        }
        #expect(try await shell(home, "cat /data/file") == "newer\n", "the guest runs on")
        try await home.succeeds("snapshot", "delete", "vm", "--tag", tag)
        #expect(try await tags(home) == "")
        let refused = try await home.run("clone", "vm", "other")
        #expect(refused.status == 75 && refused.error.contains("has no snapshot"), "\(refused)")
        try await home.succeeds("stop", "vm")
        #expect(try home.events("vm").last { $0.kind == "guest-ended" }?.step == .ask)
    }

    @Test func aStoppedInstanceGoesBackToASnapshot() async throws {
        let home = try await home()
        try await home.succeeds("start", "vm")
        _ = try await shell(home, "echo old > /data/file; sync; sudo sh -c 'echo old > /dev/vdc'")
        try await home.succeeds("snapshot", "create", "vm", "--tag", "live")
        try await home.succeeds("stop", "vm")
        // qemu-img takes "1" for the number of the snapshot before it.
        try await home.succeeds("snapshot", "create", "vm", "--tag", "1")
        try await home.succeeds("start", "vm")
        _ = try await shell(home, "echo new > /data/file; sync; sudo sh -c 'echo new > /dev/vdc'")
        try await home.succeeds("stop", "vm")
        try await home.succeeds("snapshot", "create", "vm", "--tag", "third")
        #expect(try await tags(home) == "live\n1\nthird\n")
        let table = try await home.run("snapshot", "ls", "vm").output.split(separator: "\n").map(String.init)
        #expect(table.count == 4 && table[0].hasPrefix("TAG ") && table[3].hasSuffix(" -"), "\(table)")

        for tag in ["1", "live"] {
            try await home.succeeds("snapshot", "apply", "vm", "--tag", tag)
            #expect(Files.kind(home.directory("vm") + "/seed-applied") == nil)
            try await home.succeeds("start", "vm")
            #expect(try await shell(home, "cat /data/file; sudo sh -c 'head -n 1 /dev/vdc'") == "old\nold\n")
            try await home.succeeds("stop", "vm")
            try await home.succeeds("snapshot", "apply", "vm", "--tag", "third")
        }
        // A disk that lacks the snapshot keeps all others from going back.
        let data = home.path + "/_disks/data/datadisk"
        #expect(try await Tool("qemu-img", ["snapshot", "-d", "live", data]).run().succeeded)
        let lacking = try await home.run("snapshot", "apply", "vm", "--tag", "live")
        #expect(lacking.status == 69 && lacking.error.contains("the disk data has no snapshot"), "\(lacking)")
        for tag in ["live", "1", "third"] { try await home.succeeds("snapshot", "delete", "vm", "--tag", tag) }
        #expect(try await tags(home) == "")
        #expect(Files.linkTarget(home.path + "/_disks/data/in_use_by") == nil, "the disk is free")
    }

    /// The memory of one machine does not fit another one, and QEMU would say so only when the disks have gone back.
    @Test func aSnapshotOfAnotherMachine() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        try await home.succeeds("start", "vm")
        _ = try await shell(home, "echo old > /data/file; sync")
        try await home.succeeds("snapshot", "create", "vm", "--tag", "small")
        try await home.succeeds("stop", "vm")
        try await home.succeeds("edit", "vm", "--memory", "400MiB")
        try await home.succeeds("start", "vm")
        _ = try await shell(home, "echo new > /data/file; sync")
        let refused = try await home.run("snapshot", "apply", "vm", "--tag", "small")
        #expect(refused.status == 65 && refused.error.contains("another value of: memory"), "\(refused)")
        #expect(try await shell(home, "cat /data/file") == "new\n")
        // Without the record, QEMU finds out. The guest cannot go on from disks that have gone back, and that is said.
        try Files.remove(home.directory("vm") + "/snapshots.json")
        let failed = try await home.run("snapshot", "apply", "vm", "--tag", "small")
        #expect(failed.status == 1, "\(failed)")
        #expect(failed.error.contains("the disks have gone back"), "\(failed)")
        let isKnown = try await eventually(within: 30) {
            try await home.run("list", "vm", "--format", "{{.Status}}").output != "Running\n"
        }
        #expect(isKnown)
        _ = try await home.run("stop", "vm")
        // Nothing boots before that is put right.
        let refusedStart = try await home.run("start", "vm")
        #expect(refusedStart.status == 65 && refusedStart.error.contains("was not completed"), "\(refusedStart)")
        try await home.succeeds("snapshot", "apply", "vm", "--tag", "small")
        try await home.succeeds("start", "vm")
        #expect(try await shell(home, "cat /data/file") == "old\n")
        try await home.succeeds("stop", "vm")
    }

    /// QEMU takes a tag for a number first.
    @Test func tagsThatAreNumbersOfOthers() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        try await home.succeeds("start", "vm")
        for (verb, tag) in [("create", "1"), ("create", "2"), ("delete", "1"), ("create", "1"), ("create", "3")] {
            _ = try await shell(home, "echo \(verb)-\(tag) > /data/file; sync")
            try await home.succeeds("snapshot", verb, "vm", "--tag", tag)
        }
        // The second "1" has the number 3.
        let refused = try await home.run("snapshot", "apply", "vm", "--tag", "3")
        #expect(refused.status == 69 && refused.error.contains("for the number of the snapshot \"1\""), "\(refused)")
        try await home.succeeds("snapshot", "apply", "vm", "--tag", "2")
        #expect(try await shell(home, "cat /data/file") == "create-2\n")
        try await home.succeeds("stop", "vm")
        try await home.succeeds("snapshot", "apply", "vm", "--tag", "3")
        try await home.succeeds("start", "vm")
        #expect(try await shell(home, "cat /data/file") == "create-3\n")
        // Memory that takes a moment to be written.
        _ = try await shell(home, Self.ballast)
        // A stop that comes in the middle waits for the end, and both are done.
        let journal = home.directory("vm") + "/snapshot-change.json"
        async let taken = home.run("snapshot", "create", "vm", "--tag", "last")
        let isBusy = await eventually(within: 10) { Files.kind(journal) != nil }
        #expect(isBusy)
        try await home.succeeds("stop", "vm")
        #expect(try await taken.succeeded)
        #expect(try home.events("vm").last { $0.kind == "guest-ended" }?.step == .ask)
        #expect(try await tags(home).hasSuffix("last\n"))
    }

    /// An agent that is killed while QEMU works on a snapshot leaves a guest that the next agent waits for.
    @Test func anAgentThatIsKilledInTheMiddle() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        try await home.succeeds("start", "vm")
        let before = try await info(home)
        let agent = try #require(ProcessIdentity.of(pid: before.agentPID))
        _ = try await shell(home, Self.ballast)
        let journal = home.directory("vm") + "/snapshot-change.json"
        async let taken = home.run("snapshot", "create", "vm", "--tag", "last")
        let isBusy = await eventually(within: 10) { Files.kind(journal) != nil }
        #expect(isBusy && agent.signal(9))
        _ = try await taken
        try await home.succeeds("start", "vm")
        #expect(try await info(home).guestPID == before.guestPID)
        #expect(Files.kind(journal) == nil)
        try await home.succeeds("stop", "vm")
    }

    @Test func whatCannotBeDoneChangesNothing() async throws {
        let home = try await home()
        let calls: [(words: [String], status: Int32)] = [
            (["create", "vm"], 64), (["create", "vm", "--tag", ""], 64), (["create", "vm", "--tag", "a\nb"], 64),
            (["create", "vm", "--tag", String(repeating: "x", count: 256)], 64),
            (["create", "none", "--tag", "x"], 66), (["list", "none"], 66), (["list", "../x"], 64),
        ]
        for (words, status) in calls {
            let result = try await home.tool(["snapshot"] + words).run()
            #expect(result.status == status, "\(words): \(result)")
        }
        let name = try InstanceName("vm")
        let directory = InstanceDirectory(name: name, path: home.directory("vm"))
        #expect(try await Tool("qemu-img", ["create", "-q", "-f", "raw", directory.disk, "1M"]).run().succeeded)
        let raw = try await home.run("snapshot", "create", "vm", "--tag", "x")
        #expect(raw.status == 69 && raw.error.contains("has the format raw"), "\(raw)")
    }
}
