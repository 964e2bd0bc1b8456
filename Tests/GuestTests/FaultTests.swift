import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Bad input and a faulty environment, with the real program: one clear sentence, the right status, nothing half-made.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct FaultTests {
    @Test(arguments: ["../x", "", String(repeating: "a", count: 300), "a/b", "a\nb", "..", "a b"])
    func hostileNamesAreRefusedEverywhere(_ name: String) async throws {
        let home = try TestHome()
        for command in [
            ["create", "--name", name, "mini"], ["start", name], ["stop", name], ["info", name],
            ["delete", "--force", name], ["shell", name], ["events", name], ["list", name],
        ] {
            let result = try await home.tool(command).run()
            #expect(result.status == 64, "\(command): \(result)")
            #expect(result.error.hasPrefix("hostagent: ") && result.error.contains("not an instance name"))
        }
        #expect(try Files.names(in: home.path) == [])
    }

    @Test func anInstanceThatIsNotThere() async throws {
        let home = try TestHome()
        for command in [
            ["start"], ["stop"], ["info", "default"], ["delete", "default"], ["shell", "default"], ["events"],
            ["list", "x"],
        ] {
            #expect(try await home.tool(command).run().status == 66, "\(command)")
        }
        let list = try await home.run("list")
        #expect(list.succeeded && list.error.contains("hostagent create"))
        #expect(try await home.run("list", "--json").output == "")
    }

    @Test(arguments: ["", "[]", "a: [", "images: 3", "bogus: 1\nimages: []"])
    func aBadFileCreatesNothing(_ text: String) async throws {
        let home = try TestHome()
        let result = try await home.tool(["create", "--name", "x", "-"]).with(input: text).run()
        #expect(result.status == 65, "\(result)")
        #expect(result.error.contains("standard input"))
        #expect(try Files.names(in: home.path) == [])
    }

    @Test func tenMegabytesAreNotRead() async throws {
        let home = try TestHome()
        let file = home.path + ".yaml"
        defer { try? Files.remove(file) }
        try TextFile.replace(file, with: "message: " + String(repeating: "x", count: 10 << 20))
        let result = try await home.run("create", "--name", "x", file)
        #expect(result.status == 65, "\(result)")
    }

    @Test func oneBrokenInstanceHidesNoOther() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "good", "mini")
        for (name, text) in [("bad", "cpus: [\n"), ("worse", "cpus: x\n")] {
            try Files.makeDirectory(home.directory(name))
            try TextFile.replace(home.directory(name) + "/lima.yaml", with: text)
        }
        try Files.makeDirectory(home.directory("empty"))
        let list = try await home.run("list", "--format", "{{.Name}} {{.Status}}")
        #expect(list.output == "bad Broken\nempty Broken\ngood Stopped\nworse Broken\n")
        let table = try await home.run("list")
        #expect(table.output.contains("cpus: expected a whole number"))
        let start = try await home.run("start", "worse")
        #expect(start.status == 65 && start.error.contains("worse/lima.yaml:1:7"))
        try await home.succeeds("delete", "worse")
    }

    @Test func noQEMU() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        // This PATH has everything except QEMU.
        let bin = home.path + "/_bin"
        try Files.makeDirectory(bin)
        for tool in ["ssh-keygen", "ssh", "genisoimage", "qemu-img", "sh"] {
            let path = try #require(Tool.path(of: tool, in: nil))
            _ = try await Tool("ln", ["-s", path, bin + "/" + tool]).run()
        }
        let result = try await home.run("start", "mini", environment: ["PATH": bin])
        #expect(result.status == 69, "\(result)")
        #expect(result.error.contains("qemu-system-x86_64 is not in PATH") && result.error.contains("apt-get install"))
    }

    @Test func tooLongAHome() async throws {
        let home = try TestHome()
        let long = home.path + "/" + String(repeating: "d", count: 90)
        let result = try await home.run("create", "mini", environment: ["LIMA_HOME": long])
        #expect(result.status == 64 && result.error.contains("107"), "\(result)")
        #expect(try Files.names(in: home.path) == [])
        #expect(try await home.run("list", environment: ["LIMA_HOME": "relative"]).status == 64)
    }

    @Test(.enabled(if: HostProcess.uid == 0)) func aHomeThatIsNotWritable() async throws {
        // Root may write anywhere except where nobody may: /proc takes no directories, a read-only mount takes nothing.
        let home = try TestHome()
        let result = try await home.run("create", "mini", environment: ["LIMA_HOME": "/proc/home"])
        #expect(result.status == 73 && result.error.contains("LIMA_HOME"), "\(result)")
    }

    @Test(.enabled(if: HostProcess.uid == 0)) func aFullDisk() async throws {
        let home = try TestHome()
        let disk = try await SmallDisk(at: home.path + "/small", size: "8m")
        let result = try await home.run("create", "mini", environment: ["LIMA_HOME": disk.path])
        let left = try Files.names(in: disk.path)
        #expect(result.status == 73, "\(result)")
        #expect(result.error.contains("No space left"), "\(result)")
        #expect(left == [])
    }

    /// The host's disk fills up under a running guest. The guest waits, the agent reports it, and the guest continues
    /// when there is room. Nothing is lost.
    @Test(.enabled(if: HostProcess.uid == 0)) func aDiskThatFillsUnderAGuest() async throws {
        let home = try TestHome()
        let disk = try await SmallDisk(at: home.path + "/small", size: "128m")
        let variables: [String: String?] = ["LIMA_HOME": disk.path]
        let started = try await home.tool(["create", "mini"], environment: variables).run()
        #expect(started.succeeded, "\(started)")
        try await home.succeeds("start", "mini", environment: variables)
        let room = "\(try await Self.freeKilobytes(disk.path) - 8000)"
        #expect(
            try await Tool("dd", ["if=/dev/zero", "of=\(disk.path)/ballast", "bs=1K", "count=\(room)"]).run().succeeded)

        let script = "dd if=/dev/urandom of=/data/large bs=1M count=30 2> /dev/null; sync; md5sum < /data/large"
        async let writing = home.tool(["shell", "mini", "sh", "-c", script], environment: variables).run()
        let stalled = try await eventually(within: 60) {
            try await home.run("list", "--format", "{{.Status}}", environment: variables).output == "Degraded\n"
        }
        #expect(stalled)
        let info = try await home.run("info", "mini", environment: variables)
        #expect(info.output.contains("make room on the host's disk"), "\(info)")
        // A machine that stands still gets no snapshot, and is not harmed by the attempt.
        let snapshot = try await home.run("snapshot", "create", "mini", "--tag", "full", environment: variables)
        #expect(snapshot.status == 75 && snapshot.error.contains("the machine does not run just now"), "\(snapshot)")
        #expect(try await home.run("snapshot", "list", "-q", "mini", environment: variables).output == "")
        try Files.remove(disk.path + "/ballast")
        let written = try await writing
        #expect(written.succeeded, "\(written)")
        let recovered = try await eventually(within: 60) {
            try await home.run("list", "--format", "{{.Status}}", environment: variables).output == "Running\n"
        }
        #expect(recovered)
        try await home.succeeds("restart", "mini", environment: variables)
        let read = try await home.run("shell", "mini", "sh", "-c", "md5sum < /data/large", environment: variables)
        #expect(read.output == written.output)
        try await home.succeeds("stop", "mini", environment: variables)
    }

    private static func freeKilobytes(_ path: String) async throws -> Int {
        let shown = try await Tool("df", ["--output=avail", "-k", path]).run().output
        return shown.split(separator: "\n").last.flatMap { Int(String($0).trimmed) } ?? 0
    }

    @Test func aPipeInTheWayHoldsNobodyUp() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try Files.makeDirectory(home.directory("pipe"))
        for path in [home.directory("pipe") + "/lima.yaml", home.directory("mini") + "/ha.stdout.log"] {
            #expect(try await Tool("mkfifo", [path]).run().succeeded)
        }
        let list = try await Tool(
            "timeout", ["10", Checkout.binary, "list", "--format", "{{.Name}} {{.Status}}"],
            environment: ["LIMA_HOME": home.path]
        ).run()
        #expect(list.output == "mini Stopped\npipe Broken\n", "\(list)")
    }

    @Test func directoriesWhereFilesBelong() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let files = [
            "agent.lock", "ha.pid", "ha.sock", "qemu.pid", "qmp.sock", "guest.json", "ssh.config", "serial.log",
            "ha.stdout.log", "ha.stdout.log.1", "ha.stderr.log", "qemu.log", "cidata.iso",
        ]
        let directory = home.directory("mini")
        for file in files {
            try? Files.remove(directory + "/" + file)
            try Files.makeDirectory("\(directory)/\(file)")
            try TextFile.replace("\(directory)/\(file)/mine", with: "x")
        }
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Stopped\n")
        let stopped = try await home.run("stop", "mini")
        #expect(stopped.succeeded && stopped.error.contains("note: moved \(directory)/agent.lock to"), "\(stopped)")
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        for file in files { #expect(try TextFile.read("\(directory)/\(file).aside/mine") == "x", "\(file)") }
        // Files of a running guest are replaced by directories.
        for file in ["agent.lock", "ssh.config"] {
            try Files.remove("\(directory)/\(file)")
            try Files.makeDirectory("\(directory)/\(file)")
            let isBack = await eventually(within: 10) { Files.kind("\(directory)/\(file)") == .regular }
            #expect(isBack, "\(file)")
        }
        try await home.succeeds("shell", "mini", "true")
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Running\n")
        try await home.succeeds("stop", "mini")
    }

    @Test func aDiskThatIsGoneIsNotReplaced() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        try await home.succeeds("stop", "mini")
        let disk = home.directory("mini") + "/disk"
        try Files.move(disk, to: disk + ".away")
        let refused = try await home.run("start", "mini")
        #expect(refused.status == 65 && refused.error.contains("is gone"), "\(refused)")
        try Files.move(disk + ".away", to: disk)
        #expect(try await Tool("truncate", ["-s", "100", disk]).run().succeeded)
        let damaged = try await home.run("start", "mini")
        #expect(damaged.status == 65 && damaged.error.contains("qcow2"), "\(damaged)")
    }

    @Test func whatCannotBeWrittenIsNoSuccess() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let script =
            "\"$1\" list > /dev/full; echo $?; \"$1\" list --json | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}"
        let result = try await Tool(
            "bash", ["-c", script, "bash", Checkout.binary], environment: ["LIMA_HOME": home.path]
        ).run()
        #expect(result.output == "1\n0\n" && result.error.contains("No space left"), "\(result)")
        for (arguments, status) in [
            (["edit", "--set", "cpus=", "mini"], 64), (["edit", "--set", "cpus=4", "mini"], 0),
        ]
            as [([String], Int32)]
        {
            #expect(try await home.tool(arguments).run().status == status, "\(arguments)")
        }
        #expect(try await home.run("list", environment: ["LIMA_HOME": home.path + "/q\"t"]).status == 64)
    }

    /// The directory of a running instance is removed. Its agent notices this and does not stay behind unseen.
    @Test func aDirectoryThatIsRemovedUnderARunningGuest() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini")
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        let guest = try #require(info.guestPID.flatMap { ProcessIdentity.of(pid: $0) })
        // The socket and the lock come back by themselves, at once …
        try Files.remove(home.directory("mini") + "/ha.sock")
        let began = ContinuousClock.now
        let bound = await eventually(within: 15) {
            (try? await AgentClient(socket: home.directory("mini") + "/ha.sock").info()) != nil
        }
        #expect(bound && ContinuousClock.now - began < .seconds(10), "no heartbeat is waited for")
        try Files.remove(home.directory("mini") + "/agent.lock")
        let renewed = try await eventually(within: 40) {
            try await home.run("list", "--format", "{{.Status}} {{.DriverPID}}").output == "Running \(guest.pid)\n"
        }
        #expect(renewed)
        // … the directory does not come back.
        // An agent that is restoring something at this moment may make the last step of the removal fail.
        let removed = await eventually(within: 10) { (try? Files.remove(home.directory("mini"))) != nil }
        #expect(removed)
        let gone = await eventually(within: 60) { !agent.isAlive && !guest.isAlive }
        #expect(gone)
        if !gone { for process in [agent, guest] { process.signal(9) } }
    }

    @Test func aLiveStrangerOnTheSocketIsRespected() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let script =
            "import socket,sys,time\ns=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(60)"
        let socket = home.directory("mini") + "/ha.sock"
        let stranger = Task { try await Tool("python3", ["-c", script, socket]).run() }
        #expect(await eventually(within: 20) { UnixSocket.listener(path: socket) != nil })
        let result = try await home.run("start", "mini", "--foreground")
        #expect(result.status == 75 && result.error.contains("not a hostagent"), "\(result)")
        let list = try await home.run("list")
        #expect(list.output.contains("Running") && list.output.contains("not a hostagent"), "\(list)")
        for command in [["stop", "mini"], ["delete", "--force", "mini"]] {
            #expect(try await home.tool(command).run().status == 75, "\(command)")
        }
        stranger.cancel()
        _ = try? await stranger.value
    }
}
