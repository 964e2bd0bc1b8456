import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// The host's directories in a guest.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct MountTests {
    /// An instance with a directory that it may only read, and one that it may change.
    private func create(_ home: borrowing TestHome, _ options: String = "") async throws -> (ro: String, rw: String) {
        let (ro, rw) = (home.path + "/_shared/ro", home.path + "/_shared/rw")
        try Files.makeDirectory(ro)
        if options.isEmpty { #expect(Files.kind(rw) == nil) } else { try Files.makeDirectory(rw) }
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        try TextFile.replace(
            yaml,
            with: try TextFile.read(yaml) + """
                mounts:
                - {location: "\(ro)", mountPoint: /mnt/ro}
                - {location: "\(rw)", mountPoint: "/mnt/r w", writable: true\(options)}

                """)
        try TextFile.replace(ro + "/word", with: "from the host\n")
        return (ro, rw)
    }

    private func mounts(_ home: borrowing TestHome) throws -> [String] {
        try home.events("mini").compactMap {
            guard case .mount(let mount) = $0.event else { return nil }
            return "\(mount.state) \(mount.mountPoint)"
        }
    }

    /// The processes of the servers, by what is on record.
    private func servers(_ home: borrowing TestHome) throws -> [ProcessIdentity] {
        struct Record: Decodable {
            struct Entry: Decodable {
                struct Server: Decodable { var process: ProcessIdentity }
                var server: Server?
            }
            var entries: [Entry]
        }
        let text = try TextFile.read(home.directory("mini") + "/mounts.json")
        return try JSONDecoder().decode(Record.self, from: Data(text.utf8)).entries.compactMap(\.server?.process)
    }

    @Test func aDirectoryLivesAsLongAsItsGuest() async throws {
        let home = try TestHome()
        let (ro, rw) = try await create(home)
        try await home.succeeds("start", "mini")
        #expect(try mounts(home) == ["mounted /mnt/r w", "mounted /mnt/ro"])
        #expect(try await inGuest("cat /mnt/ro/word", of: home) == "from the host\n")
        // Lima makes a location that is missing.
        #expect(try await inGuest("echo from the guest > '/mnt/r w/word'", of: home) == "")
        #expect(try TextFile.read(rw + "/word") == "from the guest\n")
        #expect(try await inGuest("echo x > /mnt/ro/word", of: home).contains("Read-only"))

        // The servers outlive the agent, and the next one finds them.
        let before = try servers(home)
        #expect(before.count == 2 && before.allSatisfy(\.isAlive))
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        try TextFile.replace(ro + "/other", with: "while there was no agent\n")
        #expect(try await inGuest("cat /mnt/ro/other", of: home) == "while there was no agent\n")
        try await home.succeeds("start", "mini")
        #expect(try servers(home) == before)
        #expect(try mounts(home).isEmpty)

        // A server that dies takes with it what was open. The directory is there again.
        let server = try #require(before[0].children.first)
        #expect(server.signal(9))
        _ = await before[0].waitUntilEnded()
        #expect(try await eventually(within: 30) { try mounts(home) == ["lost /mnt/r w", "mounted /mnt/r w"] })
        #expect(try await inGuest("cat '/mnt/r w/word'", of: home) == "from the guest\n")
        #expect(before[1].isAlive)

        // The guest reboots, and has its directories again.
        _ = try await inGuest("(sleep 0.5; reboot) > /dev/null 2>&1 &", of: home)
        #expect(try await eventually(within: 60) { try home.events("mini").contains { $0.kind == "guest-rebooted" } })
        let isThereAgain = try await eventually(within: 60) {
            try mounts(home).suffix(2) == ["mounted /mnt/r w", "mounted /mnt/ro"]
        }
        let seen = try mounts(home)
        #expect(isThereAgain, "\(seen)")
        #expect(try await eventually(within: 60) { try await home.run("shell", "mini", "true").succeeded })
        #expect(try await inGuest("cat /mnt/ro/word '/mnt/r w/word'", of: home).hasSuffix("from the guest\n"))

        let last = try servers(home)
        try await home.succeeds("stop", "mini")
        let areGone = await eventually(within: 10) { !last.contains(where: \.isAlive) }
        #expect(areGone)
        let warnings = try home.events("mini").filter { $0.kind == "warning" }
        #expect(warnings.isEmpty, "\(warnings.compactMap(\.message))")
        #expect(try TextFile.read(rw + "/word") == "from the guest\n")
    }

    @Test func namesOfEveryKind() async throws {
        let home = try TestHome()
        let (_, rw) = try await create(home)
        try await home.succeeds("start", "mini")
        let long = String(repeating: "n", count: 255)
        // A line end, a sign that is not UTF-8 (octal 377), quotation marks, a leading dash.
        let said = try await inGuest(
            """
            cd '/mnt/r w' && echo 1 > "$(printf 'a\\nb')" && echo 2 > "$(printf 'c\\377d')" && echo 3 > \(long) &&
            echo 4 > "it's \\"quoted\\"" && echo 5 > -dash && mkdir 'd e' && echo 6 > 'd e/f' && ln -s 'd e/f' link &&
            ln word hard 2> /dev/null; cat -- "$(printf 'a\\nb')" "$(printf 'c\\377d')" \(long) link
            """, of: home)
        #expect(said == "1\n2\n3\n6\n")
        let listed = try await Tool("find", [rw, "-mindepth", "1", "-printf", "%P\\0"]).run().output
        for name in ["a\nb", long, "it's \"quoted\"", "-dash", "d e/f", "link"] {
            #expect(listed.split(separator: "\0").contains { $0 == name }, "\(name)")
        }
        let invalid = try await Tool("sh", ["-c", #"cat "$0/$(printf 'c\377d')""#, rw]).run()
        #expect(invalid.output == "2\n")
        // The other way.
        #expect(try await Tool("sh", ["-c", #"cd "$0" && echo 7 > "$(printf 'e\377\nf')""#, rw]).run().succeeded)
        #expect(try await inGuest(#"cat "/mnt/r w/$(printf 'e\377\nf')""#, of: home) == "7\n")
    }

    @Test func manyFilesAndALargeOne() async throws {
        let home = try TestHome()
        let (ro, _) = try await create(home)
        try await Self.run("sh", "-c", #"mkdir "$0/many" && cd "$0/many" && seq 20000 | xargs touch"#, ro)
        // Five GiB with one word behind them.
        try await Self.run("sh", "-c", #"truncate -s 5G "$0/large" && echo end >> "$0/large""#, ro)
        try await home.succeeds("start", "mini")
        #expect(try await inGuest("ls /mnt/ro/many | wc -l", of: home) == "20000\n")
        let tail = try await inGuest(
            "dd if=/mnt/ro/large bs=1M skip=5120 2> /dev/null; stat -c %s /mnt/ro/large", of: home)
        #expect(tail == "end\n\((5 << 30) + 4)\n")
        try await home.succeeds("stop", "mini")
    }

    @Test func asManyAsThereCanBe() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let all = (1...Mount.maximumCount).map {
            "- {location: \"\(home.path)/_shared/\($0)\", mountPoint: /m/\($0), writable: true}\n"
        }
        try TextFile.replace(yaml, with: try TextFile.read(yaml) + "mounts:\n" + all.joined())
        try await home.succeeds("start", "mini")
        let mounted = try mounts(home)
        #expect(Set(mounted) == Set((1...Mount.maximumCount).map { "mounted /m/\($0)" }))
        #expect(try await inGuest("for d in /m/*; do echo $d > $d/name; done", of: home) == "")
        for number in 1...Mount.maximumCount {
            #expect(try TextFile.read(home.path + "/_shared/\(number)/name") == "/m/\(number)\n")
        }
        try await home.succeeds("stop", "mini")
    }

    /// A guest that goes back to a snapshot has the handles of other files. It mounts anew before it uses them.
    @Test func theStateOfASnapshot() async throws {
        let home = try TestHome()
        let (_, rw) = try await create(home)
        try await home.succeeds("start", "mini")
        _ = try await inGuest("cd '/mnt/r w'; (exec 3> first; sleep 1000 >&3) > /dev/null 2>&1 &", of: home)
        let isOpen = await eventually(within: 10) { Files.kind(rw + "/first") == .regular }
        #expect(isOpen)
        try await home.succeeds("snapshot", "create", "mini", "--tag", "s")
        let before = try servers(home)
        _ = try await inGuest("pkill sleep; killall sleep; cd '/mnt/r w'; echo second > second", of: home)
        try await home.succeeds("snapshot", "apply", "mini", "--tag", "s")
        let left = before.filter(\.isAlive)
        #expect(left.isEmpty)
        let isThere = try await eventually(within: 60) {
            try await inGuest("echo third > '/mnt/r w/third' && cat /mnt/ro/word", of: home) == "from the host\n"
        }
        #expect(isThere)
        #expect(try TextFile.read(rw + "/second") == "second\n")
        #expect(try TextFile.read(rw + "/first") == "")
        let isRunning = try await eventually(within: 60) {
            try await home.run("list", "--format", "{{.Status}}").output == "Running\n"
        }
        #expect(isRunning)
        try await home.succeeds("stop", "mini")
    }

    /// Two guests have one directory. A full disk is an error in the guest that writes, and nothing else.
    @Test(.enabled(if: HostProcess.uid == 0)) func oneDirectoryOfTwoGuestsOnASmallDisk() async throws {
        let home = try TestHome()
        let disk = try await SmallDisk(at: home.path + "/_small", size: "4m")
        for name in ["one", "two"] {
            try await home.succeeds("create", "--name", name, "mini")
            let yaml = home.directory(name) + "/lima.yaml"
            let mount = "mounts: [{location: \"\(disk.path)\", mountPoint: /mnt/small, writable: true}]\n"
            try TextFile.replace(yaml, with: try TextFile.read(yaml) + mount)
            try await home.succeeds("start", name)
            let written = try await home.run("shell", name, "sh", "-c", "echo \(name) > /mnt/small/\(name)")
            #expect(written.succeeded, "\(written)")
        }
        #expect(try await home.run("shell", "one", "cat", "/mnt/small/two").output == "two\n")
        let full = try await home.run("shell", "one", "dd", "if=/dev/zero", "of=/mnt/small/large", "bs=1M", "count=8")
        #expect(!full.succeeded, "\(full)")
        #expect(try await home.run("shell", "two", "cat", "/mnt/small/one").output == "one\n")
        #expect(try await home.run("shell", "two", "rm", "/mnt/small/large").succeeded)
        #expect(try await home.run("shell", "one", "sh", "-c", "echo more >> /mnt/small/one").succeeded)
        #expect(try TextFile.read(disk.path + "/one") == "one\nmore\n")
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Running\nRunning\n")
        for name in ["one", "two"] { try await home.succeeds("stop", name) }
    }

    /// A root in the guest speaks to the servers itself, and sees nothing but the directories.
    @Test func nothingEscapesAMount() async throws {
        let home = try TestHome()
        let (ro, rw) = try await create(home, ", sshfs: {followSymlinks: true}")
        let secret = home.path + "/_shared/secret"
        try TextFile.replace(secret, with: "secret\n")
        try await Self.run("ln", "-s", secret, rw + "/out")
        try await Self.run("ln", "-s", "word", ro + "/in")
        try await home.succeeds("start", "mini")
        #expect(try await inGuest("cat /mnt/ro/in", of: home) == "from the host\n")

        // Links lead nowhere else, whoever made them, and whichever end follows them.
        let links = try await inGuest(
            """
            cd '/mnt/r w'; ln -s '\(secret)' mine; ln -s ../../../../../../..\(secret) up; ln -s /etc/shadow shadow
            cat out mine up shadow; cat ../secret; echo done
            """, of: home)
        #expect(!links.contains("secret\n\n") && !links.split(separator: "\n").contains("secret"), "\(links)")
        #expect(links.hasSuffix("done\n"))

        // No program with the rights of the host's account, and no device.
        let modes = try await inGuest(
            """
            cd '/mnt/r w'; cat /bin/busybox > b; cp /bin/busybox c; chmod 4755 b; chmod 2755 b; chmod 0755 b && echo plain; mkdir -m 2755 g
            mknod null c 1 3; mknod pipe p; echo done
            """, of: home)
        #expect(modes.contains("plain\n") && modes.hasSuffix("done\n"), "\(modes)")
        let found = try await Tool("find", [rw, "-perm", "/6000", "-o", "-type", "b,c,p"]).run()
        #expect(found.succeeded && found.output.isEmpty, "\(found)")

        // The same without sshfs's help: its own client mounts the whole root of the server.
        for (number, point) in ["/mnt/r w", "/mnt/ro"].enumerated() {
            let raw = try await inGuest(
                """
                umount '\(point)'; sleep 1
                for p in /sys/class/virtio-ports/*; do
                    [ "$(cat $p/name)" != io.hostagent.mount.\(number) ] || port=/dev/${p##*/}
                done
                mkdir -p /tmp/raw\(number)
                sshfs :/ /tmp/raw\(number) -o passive <> $port >&0 2> /tmp/raw.log &
                for i in 1 2 3 4 5 6 7 8 9 10; do grep -q /tmp/raw\(number) /proc/mounts && break; sleep 0.5; done
                cd /tmp/raw\(number) && ls && ls mount | grep -c . && cat etc/passwd && cat '\(secret)' .'\(secret)'
                echo x > new; echo x > etc/passwd; mkdir made; echo x > mount/\(number == 1 ? "word" : "w2"); echo end
                """, of: home)
            #expect(raw.hasSuffix("end\n"), "\(raw)")
            let lines = raw.split(separator: "\n").map(String.init)
            let root = lines.drop { $0 != "dev" }.prefix { $0 != "usr" }
            #expect(root.contains("mount"), "\(raw)")
            #expect(Set(root).isSubset(of: ["dev", "etc", "lib", "lib64", "mount"]), "\(raw)")
            #expect(lines.contains { $0.hasPrefix("user:x:\(HostProcess.uid):") })
            #expect(!lines.contains("secret") && lines.filter { $0.hasPrefix("root:") }.isEmpty, "\(raw)")
            let server = try #require(servers(home)[number].children.first)
            let made = try await Tool("ls", ["/proc/\(server.pid)/root"]).run()
            #expect(made.output.contains("mount") && !made.output.contains("made") && !made.output.contains("new"))
        }
        #expect(try TextFile.read(ro + "/word") == "from the host\n")
        #expect(try TextFile.read(rw + "/w2") == "x\n")
        #expect(try TextFile.read(secret) == "secret\n")
    }

    @Test func aDirectoryThatCannotBeServed() async throws {
        let home = try TestHome()
        let (_, rw) = try await create(home)
        try TextFile.replace(rw, with: "a file\n")
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        let said = started.error + started.output
        #expect(
            said.contains(
                "hostagent: warning: mini is degraded: \(rw) is not mounted at /mnt/r w: \(rw) is not a directory\n"),
            "\(said)")
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Degraded\n")
        let events = try home.events("mini")
        #expect(
            events.last { $0.kind == "phase" }?.status.errors == [
                "\(rw) is not mounted at /mnt/r w: \(rw) is not a directory"
            ])
        #expect(try mounts(home).contains("failed /mnt/r w"))
        // The other one is there.
        #expect(try await inGuest("cat /mnt/ro/word", of: home) == "from the host\n")
        #expect(try TextFile.read(rw) == "a file\n")
        // The guest has it as soon as it can be served.
        try Files.remove(rw)
        try Files.makeDirectory(rw)
        let isHealthy = try await eventually(within: 90) {
            try await home.run("list", "--format", "{{.Status}}").output == "Running\n"
        }
        #expect(isHealthy)
        #expect(try await inGuest("echo x > '/mnt/r w/x'", of: home) == "")
        #expect(try TextFile.read(rw + "/x") == "x\n")

        // A directory that is taken away is not made anew. It is the guest's again when it is back.
        try Files.move(rw, to: rw + "-elsewhere")
        let isMissed = try await eventually(within: 30) {
            try home.events("mini").last { $0.kind == "failure" }?.message?.hasSuffix("not there any more") ?? false
        }
        #expect(isMissed && Files.kind(rw) == nil)
        try Files.move(rw + "-elsewhere", to: rw)
        let isBack = try await eventually(within: 90) {
            try await home.run("list", "--format", "{{.Status}}").output == "Running\n"
        }
        #expect(isBack)
        #expect(try await inGuest("cat '/mnt/r w/x'", of: home) == "x\n")
        try await home.succeeds("stop", "mini")
    }

    private static func run(_ words: String...) async throws {
        let result = try await Tool(words[0], Array(words.dropFirst())).run()
        #expect(result.succeeded, "\(result)")
    }
}
