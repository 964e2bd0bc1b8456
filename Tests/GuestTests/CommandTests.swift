import Foundation
import GuestDriver
import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import Testing

/// Commands about whole instances, and the shared SSH connection, with a real guest.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct CommandTests {
    private static func master(_ directory: String) throws -> HelperRecord? {
        guard let bytes = try? TextFile.bytes(directory + "/ssh-master.json") else { return nil }
        return try JSONDecoder().decode(HelperRecord.self, from: Data(bytes))
    }

    private static func hasMaster(_ directory: String) async throws -> Bool {
        try await eventually(within: 30) {
            try master(directory)?.isAlive(in: directory) == true && Files.kind(directory + "/ssh.sock") == .socket
        }
    }

    @Test func theConnectionIsSharedAndFoundAgain() async throws {
        let home = try TestHome()
        let directory = home.directory("vm")
        try await home.succeeds("create", "--name", "vm", "mini")
        try await home.succeeds("start", "vm")
        #expect(try await Self.hasMaster(directory))
        let first = try #require(try Self.master(directory))
        // Nothing but the master reaches the guest here.
        let shared = try await Tool(
            "ssh", ["-F", directory + "/ssh.config", "-o", "ProxyCommand=false", "lima-vm", "echo", "shared"]
        ).run()
        #expect(shared.output == "shared\n", "\(shared)")

        // The master outlives the agent, and the next agent uses it.
        let agent = try #require(Int32(try TextFile.read(directory + "/ha.pid").trimmed))
        #expect(ProcessIdentity.of(pid: agent)?.signal(9) == true)
        try await home.succeeds("start", "vm")
        #expect(try await Self.hasMaster(directory))
        #expect(try Self.master(directory)?.process == first.process)

        // Without it, everything makes a connection of its own.
        #expect(first.process.signal(9))
        #expect(try await home.run("shell", "vm", "echo", "own").output == "own\n")

        try await home.succeeds("stop", "vm")
        #expect(!first.process.isAlive)
        #expect(Files.kind(directory + "/ssh-master.json") == nil && Files.kind(directory + "/ssh.sock") == nil)
    }

    /// The claim of a copied directory names the master of another instance. It is neither used nor ended.
    @Test func theMasterOfAnotherInstanceIsLeftAlone() async throws {
        let home = try TestHome()
        for name in ["one", "two"] {
            try await home.succeeds("create", "--name", name, "mini")
        }
        try await home.succeeds("start", "one")
        #expect(try await Self.hasMaster(home.directory("one")))
        let foreign = try #require(try Self.master(home.directory("one")))
        try Files.copy(home.directory("one") + "/ssh-master.json", to: home.directory("two") + "/ssh-master.json")
        try await home.succeeds("start", "two")
        #expect(try await Self.hasMaster(home.directory("two")))
        #expect(try Self.master(home.directory("two"))?.process != foreign.process)
        #expect(foreign.isAlive(in: home.directory("one")))
        try await home.succeeds("stop", "one")
        try await home.succeeds("stop", "two")
    }

    @Test func filesAreCopiedBothWaysWhateverTheirNames() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        let early = try await home.run("copy", "vm:/etc/hosts", home.path + "/x")
        #expect(early.status == 69, "\(early)")
        try await home.succeeds("start", "vm")
        try await home.succeeds("shell", "vm", "mkdir", "/tmp/d")
        let name = "-a b'c\"$(touch x);*é"
        try TextFile.replace("\(home.path)/\(name)", with: "content")
        let work = home.path
        let there = try await Tool(
            "sh",
            ["-c", #"cd "$1" && shift && exec "$@""#, "sh", work, Checkout.binary, "copy", "--", name, "vm:/tmp/d/"],
            environment: ["LIMA_HOME": work]
        ).run()
        #expect(there.succeeded, "\(there)")
        let back = try await home.run("cp", "-r", "vm:/tmp/d", home.path + "/_back")
        #expect(back.succeeded, "\(back)")
        #expect(try TextFile.read("\(home.path)/_back/\(name)") == "content")
        let missing = try await home.run("copy", "vm:/none", home.path + "/_none")
        #expect(missing.status == 1 && Files.kind(home.path + "/_none") == nil)
        #expect(try await home.run("copy", "a", "b").status == 64)
        #expect(try await home.run("copy", "nobody:x", "b").status == 66)
        try await home.succeeds("stop", "vm")
    }

    /// What is removed is named, and is an instance.
    @Test func nothingIsRemovedByMistake() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "default", "mini")
        #expect(try await home.run("delete").status == 64)
        let backup = home.path + "/backup"
        try Files.makeDirectory(backup + "/sub")
        try TextFile.replace(backup + "/sub/file", with: "precious\n")
        let refused = try await home.run("delete", "backup")
        #expect(refused.status == 65 && refused.error.contains("has no lima.yaml"), "\(refused)")
        #expect(try TextFile.read(backup + "/sub/file") == "precious\n")
        let missing = try await home.run("delete", "--force", "nosuch")
        #expect(
            missing.succeeded && missing.error.hasPrefix("hostagent: warning: there is no instance \"nosuch\" in "),
            "\(missing)")
        #expect(try await home.run("delete", "nosuch").status == 66)
        let same = try await home.run("clone", "default", "default")
        #expect(same.status == 64 && !same.error.contains("delete"), "\(same)")
        let shrunk = try await home.run("edit", "--disk", "1MiB", "default")
        #expect(shrunk.status == 65 && shrunk.error.contains("can only grow"), "\(shrunk)")
        #expect(try await home.run("list", "--format", "{{.Name}} {{.Disk}}", "default").output == "default 67108864\n")
        try await home.succeeds("delete", "default")
    }

    @Test func aDiskIsUsedByOneInstanceAtATime() async throws {
        let home = try TestHome()
        #expect(try await home.run("disk", "create", "data", "--size", "16MiB").output == "created the disk data\n")
        let mini = try #require(InstanceTemplate.text("mini", environment: ["XDG_DATA_HOME": Checkout.dataDirectory]))
        for name in ["a", "b"] {
            let yaml = mini + "additionalDisks: [{name: data, format: false}]\n"
            try await home.succeeds("create", "--name", name, "-", input: yaml)
        }
        try await home.succeeds("start", "a")
        let serial = try await home.run("shell", "a", "sh", "-c", "cat /sys/block/*/serial")
        #expect(serial.output.contains("hostagent-disk-0"), "\(serial)")
        let refused = try await home.run("start", "b")
        #expect(
            refused.status == 75 && refused.error.contains("the disk \"data\" is in use by \(home.directory("a"))"),
            "\(refused)")
        #expect(try await home.run("disk", "delete", "data").status == 75)
        #expect(try await home.run("disk", "list").output.contains("16MiB"))
        // The agent's death does not free the disk: the guest still uses it.
        let agent = try #require(Int32(try TextFile.read(home.directory("a") + "/ha.pid").trimmed))
        #expect(ProcessIdentity.of(pid: agent)?.signal(9) == true)
        #expect(try await home.run("start", "b").status == 75)
        try await home.succeeds("stop", "a")
        try await home.succeeds("start", "b")
        try await home.succeeds("stop", "b")
        let named = try await home.run("disk", "delete", "data")
        #expect(named.status == 75 && named.error.contains("belongs to the instance \"a\""), "\(named)")
        try await home.succeeds("disk", "delete", "--force", "data")
        let gone = try await home.run("start", "a")
        #expect(gone.status == 69 && gone.error.contains("there is no disk \"data\""), "\(gone)")
    }

    @Test func instancesAreRenamedClonedAndReset() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "a", "mini")
        try await home.succeeds("start", "a")
        let write = try await home.run("shell", "a", "sh", "-c", "echo kept > /data/file; sync")
        #expect(write.succeeded)
        for arguments in [["rename", "a", "b"], ["clone", "a", "b"], ["factory-reset", "a"]] {
            let refused = try await home.tool(arguments).run()
            #expect(refused.status == 75 && refused.error.contains("is running"), "\(refused)")
        }
        try await home.succeeds("stop", "a")
        // A verb that shows no plan refuses to be asked for one.
        for arguments in [
            ["factory-reset", "--dry-run", "a"], ["rename", "--dry-run", "a", "x"], ["prune", "--dry-run"],
        ] {
            #expect(try await home.tool(arguments).run().status == 64)
        }
        #expect(try await home.run("protect", "a").output == "protected a\n")
        #expect(try await home.run("clone", "a", "b").output == "cloned a to b\n")
        let taken = try await home.run("clone", "a", "b")
        #expect(taken.status == 73 && taken.error.contains("already exists"))
        #expect(try await home.run("rename", "b", "a").status == 73)
        let wrong = try await home.run("clone", "--cpus", "0", "a", "d")
        #expect(wrong.status == 65 && Files.kind(home.directory("d")) == nil, "\(wrong)")
        #expect(try await home.run("rename", "b", "c", "--memory", "600MiB").output == "renamed b to c\n")
        #expect(try await home.run("list", "c", "--format", "{{.Memory}}").output == "\(600 << 20)\n")
        let partly = try await home.run("list", "-q", "a", "none")
        #expect(partly.status == 66 && partly.output == "a\n" && partly.error.contains("\"none\""), "\(partly)")
        #expect(try await home.run("rename", "c", "no/name").status == 64)
        // The clone has the disk, and neither the protection nor the identity.
        #expect(Files.kind(home.directory("c") + "/protected") == nil)
        #expect(try TextFile.read(home.directory("c") + "/hostagent.yaml").contains("cloneIdentity: "))
        try await home.succeeds("start", "c")
        #expect(try await home.run("shell", "c", "sh", "-c", "cat /data/file; hostname").output == "kept\nlima-c\n")
        try await home.succeeds("stop", "c")

        for arguments in [["factory-reset", "a"], ["delete", "a"]] {
            let refused = try await home.tool(arguments).run()
            #expect(refused.status == 77 && refused.error.contains("hostagent unprotect a"), "\(refused)")
        }
        #expect(try await home.run("factory-reset", "c").output == "reset c\n")
        #expect(try Files.names(in: home.directory("c")) == ["agent.lock", "hostagent.yaml", "lima.yaml"])
        try await home.succeeds("start", "c")
        #expect(try await home.run("shell", "c", "ls", "/data/file").status != 0)
        try await home.succeeds("stop", "c")
        #expect(try await home.run("unprotect", "a").output == "unprotected a\n")
        try await home.succeeds("delete", "a")
    }

    /// The flags of `shell`, the proxy and the watched events, with one guest.
    @Test func aShellATunnelAndWatchedEvents() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "--name", "vm", "mini")
        let tunnelTooEarly = try await home.run("tunnel", "vm")
        #expect(tunnelTooEarly.status == 69, "\(tunnelTooEarly)")
        let log = home.path + "/_watched"
        // With its history, because the guest may already have started when the command begins to watch.
        let watch = try DetachedProcess(
            executable: Checkout.binary, arguments: ["watch", "--history", "--json"],
            environment: ["LIMA_HOME": home.path, "PATH": "/usr/bin:/bin"], output: .append(path: log), error: .null
        ).spawn()
        let watcher = try #require(ProcessIdentity.of(pid: watch))
        defer { _ = watcher.signal(9) }
        try await home.succeeds("start", "vm")

        let shell = { (words: [String], variables: [String: String?]) in
            try await home.tool(["shell"] + words, environment: variables).run()
        }
        #expect(try await shell(["--workdir", "/tmp", "vm", "pwd"], [:]).output == "/tmp\n")
        #expect(try await shell(["--workdir", "/no where", "vm", "pwd"], [:]).status == 1)
        let variables = ["FOO": "a 'b' $c", "SECRET": "x", "LIMA_SHELLENV_BLOCK": "+SECRET"]
        let preserved = try await shell(
            ["--preserve-env", "--shell", "/bin/sh", "vm", "sh", "-c", "echo \"$FOO/$SECRET\""], variables)
        #expect(preserved.output == "a 'b' $c/\n", "\(preserved)")
        #expect(try await shell(["vm", "sh", "-c", "echo $FOO; exit 7"], ["FOO": "x"]).status == 7)
        #expect(try await shell(["--reconnect", "vm", "echo", "own"], [:]).output == "own\n")
        #expect(try await shell(["--preserve-env", "vm", "true"], ["LIMA_SHELLENV_BLOCK": "a-b"]).status == 64)

        #expect(try await Self.hasMaster(home.directory("vm")))
        let port = try LoopbackPort.free()
        try await home.succeeds("tunnel", "vm", "--socks-port", String(port))
        let proxied = try await Tool(
            "curl",
            ["-s", "--proxy", "socks5h://127.0.0.1:\(port)", "--max-time", "20", "telnet://127.0.0.1:22"], input: "x\n"
        ).run()
        #expect(proxied.output.hasPrefix("SSH-2.0-"), "\(proxied)")
        #expect(try await home.run("tunnel", "vm", "--socks-port", String(port)).status == 69, "the port is taken")
        try await home.succeeds("tunnel", "vm", "--socks-port", String(port), "--close")
        #expect(LoopbackPort.isFree(port))

        try await home.succeeds("stop", "vm", "vm")
        let wasWatched = try await eventually(within: 10) { try TextFile.read(log).contains("\"exiting\":true") }
        #expect(wasWatched)
        let events = try TextFile.read(log).split(separator: "\n")
        #expect(events.allSatisfy { $0.hasPrefix("{\"event\":{") && $0.hasSuffix("\"instance\":\"vm\"}") })
        #expect(try events.count == home.events("vm").count, "every event once")
        #expect(watcher.isAlive, "the next run is watched, too")
    }

    @Test func listsThatAreAskedFor() async throws {
        let home = try TestHome()
        for (name, cpus) in [("one", "1"), ("two", "2")] {
            try await home.succeeds("create", "--name", name, "mini", "--cpus", cpus)
        }
        #expect(try await home.run("list", "--filter", ".cpus == 2", "--quiet").output == "two\n")
        #expect(try await home.run("list", "--yq", ".name").output == "one\ntwo\n")
        #expect(try await home.run("ls", "-l", ".cpus < 3", "-l", ".name | test(\"o$\")", "-q").output == "two\n")
        #expect(try await home.run("list", "one", "--yq", ".cpus", "--format", "yaml").output == "1\n")
        #expect(try await home.run("list", "--yq", "env(HOME)").status == 64)
        #expect(try await home.run("list", "--yq", ".name", "--format", "table").status == 64)
        #expect(try await home.run("list", "--quiet", "--json").status == 64)
        #expect(try await home.run("list", "--list-fields").output.contains("SSHLocalPort\n"))
        let info = try await home.run("info", "--yq", ".templates[].name")
        #expect(info.output.contains("docker\n") && info.output.contains("mini\n"), "\(info)")
        let lima = home.path + "/_bin"
        try Files.makeDirectory(lima)
        try Files.makeLink(lima + "/limactl", to: Checkout.binary)
        let called = try await Tool(
            lima + "/limactl", ["--log-level=error", "list", "--tty=false", "-q"], environment: ["LIMA_HOME": home.path]
        ).run()
        #expect(called.output == "one\ntwo\n", "\(called)")
        #expect(try await home.run("completion", "bash").output.contains("hostagent"))
        #expect(try await home.run("completion", "tcsh").status == 64)
        try await home.succeeds("edit", "one", "--memory", "0.5", "--mount", "/srv:w", "--network", "lima:shared")
        let yaml = try TextFile.read(home.directory("one") + "/lima.yaml")
        #expect(yaml.contains("memory: 0.5GiB") && yaml.contains("- {location: \"/srv\", writable: true}"))
        #expect(try await home.run("edit", "one", "--network", "nowhere").status == 64)
        try await home.succeeds("rm", "-f", "one", "two")
        #expect(try await home.run("list", "-q").output == "")
    }
}
