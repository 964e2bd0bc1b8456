import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Directories that carry another instance's records, sockets and pid files. The processes that these name are never
/// harmed.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct ClaimTests {
    private static func info(_ home: borrowing TestHome, _ name: String) async throws -> AgentInfo {
        try await AgentClient(socket: home.directory(name) + "/ha.sock").info()
    }

    private static func guest(_ home: borrowing TestHome, _ name: String) async throws -> ProcessIdentity {
        try #require(try await info(home, name).guestPID.flatMap(ProcessIdentity.of(pid:)))
    }

    private static func killAgent(_ home: borrowing TestHome, _ name: String) async throws {
        let agent = try #require(ProcessIdentity.of(pid: try await info(home, name).agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
    }

    /// Copies the directory of an instance that may run. A file that vanishes meanwhile makes cp fail.
    private static func copy(_ options: String, _ home: borrowing TestHome, _ from: String, _ to: String) async throws {
        var copied = try await Tool("cp", [options, home.directory(from), home.directory(to)]).run()
        for _ in 0..<5 where !copied.succeeded && copied.error.contains("No such file") {
            try Files.remove(home.directory(to))
            copied = try await Tool("cp", [options, home.directory(from), home.directory(to)]).run()
        }
        #expect(copied.succeeded, "\(copied)")
    }

    /// The copy's record, pid files and sockets name the original's guest.
    @Test func aCopyIsAnotherInstance() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "orig", "mini")
        try await home.succeeds("start", "orig")
        let guest = try await Self.guest(home, "orig")
        try await Self.copy("-a", home, "orig", "copy")
        #expect(try await home.run("list", "copy", "--format", "{{.Status}}").output == "Stopped\n")
        let forced = try await home.run("stop", "--force", "copy")
        #expect(forced.succeeded && forced.output == "copy was not running\n", "\(forced)")
        let started = try await home.run("start", "copy")
        #expect(started.succeeded, "\(started)")
        #expect(try await Self.guest(home, "copy") != guest && guest.isAlive)
        try await home.succeeds("shell", "orig", "true")
        try await home.succeeds("delete", "--force", "copy")
        #expect(guest.isAlive)

        // The same holds when the original's agent is dead and only its guest is left.
        try await Self.killAgent(home, "orig")
        try await Self.copy("-a", home, "orig", "copy")
        #expect(
            try await home.run("list", "--format", "{{.Name}} {{.Status}}").output == "copy Stopped\norig Orphaned\n")
        #expect(try await home.run("stop", "--force", "copy").output == "copy was not running\n")
        try await home.succeeds("delete", "copy")
        #expect(guest.isAlive)
        try await home.succeeds("start", "orig")
        #expect(try await Self.guest(home, "orig") == guest)
        #expect(try await home.run("stop", "orig").succeeded && !guest.isAlive)
    }

    /// Hard links share the lock, the sockets and the disk themselves.
    @Test func hardLinksAreAnotherDirectory() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "orig", "mini")
        try await home.succeeds("start", "orig")
        let guest = try await Self.guest(home, "orig")
        try await Self.copy("-al", home, "orig", "hard")
        for command in [["start"], ["stop"], ["stop", "--force"], ["delete", "--force"], ["reload"], ["info"]] {
            let refused = try await home.tool(command + ["hard"]).run()
            #expect(refused.status == 75, "\(command): \(refused)")
            #expect(guest.isAlive, "\(command)")
        }
        let list = try await home.run("list", "hard")
        #expect(list.output.contains("Broken") && list.output.contains("shares its lock"), "\(list)")

        try await Self.killAgent(home, "orig")
        let refused = try await home.run("start", "hard")
        #expect(refused.status == 75 && refused.error.contains("in use by another process"), "\(refused)")
        #expect(guest.isAlive)
        try await home.succeeds("stop", "--force", "hard")
        #expect(guest.isAlive, "what the other directory's guest is told is not ours to say")
        try await home.succeeds("start", "orig")
        #expect(try await Self.guest(home, "orig") == guest)
        try await home.succeeds("stop", "orig")
    }

    /// A directory that is moved keeps its guest. A directory that takes its place is another instance.
    @Test func aDirectoryThatWasMoved() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "orig", "mini")
        try await home.succeeds("start", "orig")
        let guest = try await Self.guest(home, "orig")
        try await Self.killAgent(home, "orig")
        try Files.move(home.directory("orig"), to: home.directory("moved"))
        try await Self.copy("-a", home, "moved", "orig")
        let list = try await home.run("list", "--format", "{{.Name}} {{.Status}}")
        #expect(list.output == "moved Orphaned\norig Stopped\n", "\(list)")
        let started = try await home.run("start", "moved")
        #expect(started.succeeded, "\(started)")
        #expect(try await Self.guest(home, "moved") == guest)
        try await home.succeeds("start", "orig")
        #expect(guest.isAlive)
        for name in ["moved", "orig"] { try await home.succeeds("stop", name) }
    }

    /// The directory of a running agent was moved, and its path now leads to a copy. The agent stops its own guest and
    /// nothing else.
    @Test func aDirectoryThatIsMovedUnderARunningAgent() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "orig", "mini")
        try await home.succeeds("start", "orig")
        let info = try await Self.info(home, "orig")
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        let guest = try await Self.guest(home, "orig")
        try Files.move(home.directory("orig"), to: home.directory("moved"))
        // Sockets may vanish while they are copied.
        _ = try await Tool("cp", ["-a", home.directory("moved"), home.directory("orig")]).run()
        let gone = await eventually(within: 90) { !agent.isAlive && !guest.isAlive }
        #expect(gone)
        for name in ["orig", "moved"] {
            let started = try await home.run("start", name)
            #expect(started.succeeded, "\(started)")
            try await home.succeeds("stop", name)
        }
    }

    /// Another instance takes the path of a running one. Its files are not written to, and its names not removed.
    @Test func anotherInstanceTakesThePath() async throws {
        let home = try TestHome()
        for name in ["orig", "other"] {
            try await home.succeeds("create", "--name", name, "mini")
            try await home.succeeds("start", name)
        }
        let agent = try #require(ProcessIdentity.of(pid: try await Self.info(home, "orig").agentPID))
        let (guest, others) = (try await Self.guest(home, "orig"), try await Self.guest(home, "other"))
        // Its master has bound its socket, and writes nothing more.
        let hasMaster = await eventually(within: 30) {
            Files.kind(home.directory("other") + "/ssh.sock") == .socket
        }
        #expect(hasMaster)
        // Its agent is dead, so that nothing but the other agent could change the directory.
        try await Self.killAgent(home, "other")
        let before = try Files.names(in: home.directory("other"))
        let prints = before.map { Files.fingerprint("\(home.directory("other"))/\($0)") }
        let moved = try await Tool(
            "sh", ["-c", #"mv "$1/orig" "$1/old" && mv "$1/other" "$1/orig""#, "sh", home.path]
        ).run()
        #expect(moved.succeeded)
        let isGone = await eventually(within: 120) { !agent.isAlive && !guest.isAlive }
        #expect(isGone)
        let after = try Files.names(in: home.directory("orig"))
        // QEMU and ssh themselves remove the names that they bound their sockets to, by their paths. QEMU's hidden names
        // stay, and without its master's name every ssh makes a connection of its own.
        let byPath = ["qmp.sock", "chan.sock", "ssh.sock"] + (0..<Mount.ports(forMounts: 0)).map { "m\($0).sock" }
        #expect(after.filter { !byPath.contains($0) } == before.filter { !byPath.contains($0) })
        // The console may have been written to by its own guest.
        let now = before.map { Files.fingerprint("\(home.directory("orig"))/\($0)") }
        for (index, name) in before.enumerated()
        where !(["serial.log", "disk"] + byPath).contains(name) {
            #expect(now[index] == prints[index], "\(name)")
        }
        #expect(others.isAlive)
        try await home.succeeds("start", "orig")
        #expect(try await Self.guest(home, "orig") == others)
        try await home.succeeds("stop", "orig")
    }

    /// A backup that is restored over a running instance names a guest whose files are gone.
    @Test func aRestoredBackup() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        try await home.succeeds("start", "vm")
        let guest = try await Self.guest(home, "vm")
        try await Self.copy("-a", home, "vm", "backup")
        try await Self.killAgent(home, "vm")
        try Files.remove(home.directory("vm"))
        try Files.move(home.directory("backup"), to: home.directory("vm"))
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Stopped\n")
        let started = try await home.run("start", "vm")
        #expect(started.succeeded, "\(started)")
        #expect(guest.isAlive, "it is no instance's any more, and not ours to end")
        try await home.succeeds("stop", "vm")
        guest.signal(9)
    }

    /// The record names a foreign process: a program of this account that happens to run.
    @Test func aRecordThatNamesAStranger() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        let sleep = DetachedProcess(
            executable: "/bin/sleep", arguments: ["600"], environment: [:], output: .null, error: .null)
        let stranger = try #require(ProcessIdentity.of(pid: try sleep.spawn()))
        defer { stranger.signal(9) }
        let record = """
            {"driver":"qemu","process":{"pid":\(stranger.pid),"startTime":\(stranger.startTime),\
            "bootID":"\(stranger.bootID)"},"accelerator":"tcg","sshLocalPort":1}
            """
        for command in [["stop", "--force"], ["start"], ["stop"], ["delete", "--force"]] {
            for file in ["guest.json"] { try TextFile.replace(home.directory("vm") + "/" + file, with: record) }
            for file in ["qemu.pid", "ha.pid"] {
                if command != ["stop"] {
                    try TextFile.replace(home.directory("vm") + "/" + file, with: "\(stranger.pid)\n")
                }
            }
            let result = try await home.tool(command + ["vm"]).run()
            #expect(result.succeeded, "\(command): \(result)")
            #expect(stranger.isAlive, "\(command)")
        }
    }

    /// Nothing is written to a directory while another process holds its lock.
    @Test func nothingIsWrittenBeforeTheLock() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        let directory = home.directory("vm")
        // The configuration of a guest that boots by UEFI, which needs variables of its own.
        let yaml = try TextFile.read(directory + "/lima.yaml")
        let lines = yaml.split(separator: "\n", omittingEmptySubsequences: false)
        let kernel = lines.firstIndex { $0.trimmingPrefix(while: { $0 == " " }).hasPrefix("kernel:") } ?? 0
        try TextFile.replace(
            directory + "/lima.yaml",
            with: lines[..<kernel].joined(separator: "\n") + "\n")
        try Files.makeDirectory(directory + "/guest.json")
        guard let lock = try FileLock.acquire(path: directory + "/agent.lock") else {
            Issue.record("the lock cannot be taken")
            return
        }
        let before = try Files.names(in: directory)
        let refused = try await home.run("start", "--foreground", "vm")
        #expect(refused.status == 75, "\(refused)")
        #expect(try Files.names(in: directory) == before)
        lock.release()
    }

    /// A child that an agent was starting when it was killed holds the agent's lock until it runs its own program.
    @Test func aLockThatBecomesFreeAMomentLater() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        guard let lock = try FileLock.acquire(path: home.directory("vm") + "/agent.lock") else {
            Issue.record("the lock cannot be taken")
            return
        }
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Starting\n")
        async let listed = home.run("list", "--format", "{{.Status}}")
        try await Task.sleep(for: .milliseconds(100))
        lock.release()
        #expect(try await listed.output == "Stopped\n")
    }

    /// An environment variable that names a descriptor is also only a claim.
    @Test func aLockThatIsNotInherited() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        for number in ["0", "1", "2", "7", "-1", "x", "99999999999"] {
            let result = try await home.tool(
                ["start", "--foreground", "--progress", "--timeout", "1", "vm"],
                environment: ["HOSTAGENT_INHERITED_LOCK": number]
            ).run()
            #expect(result.output.contains("\"kind\":\"exiting\""), "its standard output is still open: \(result)")
        }
    }
}
