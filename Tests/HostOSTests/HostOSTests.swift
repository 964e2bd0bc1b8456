import HostOS
import HostTestSupport
import Testing

@Suite struct FileLockTests {
    @Test func oneHolderAtATimeAndAskingTakesNothing() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/lock"
        #expect(try !FileLock.isHeld(path: path))
        guard let lock = try FileLock.acquire(path: path) else {
            Issue.record("a free lock cannot be taken")
            return
        }
        #expect(try FileLock.isHeld(path: path))
        if let second = try FileLock.acquire(path: path) {
            Issue.record("a second holder")
            second.release()
        }
        lock.release()
        #expect(try !FileLock.isHeld(path: path))
    }

    @Test func aDeadHolderHoldsNothing() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/lock"
        // flock(1) takes flock(2) locks, ours are of another kind: a file that exists is no lock.
        try TextFile.replace(path, with: "1234\n")
        #expect(try !FileLock.isHeld(path: path))
    }
}

@Suite struct ProcessTests {
    @Test func aProcessIsKnownByMoreThanItsNumber() throws {
        let me = try #require(ProcessIdentity.of(pid: HostProcess.pid))
        #expect(me.isAlive)
        let other = ProcessIdentity(pid: me.pid, startTime: me.startTime + 1, bootID: me.bootID)
        #expect(!other.isAlive)
        #expect(!other.signal(9), "a later process of the same number is never signalled")
        let lastBoot = ProcessIdentity(pid: me.pid, startTime: me.startTime, bootID: "another")
        #expect(!lastBoot.isAlive)
        #expect(ProcessIdentity.of(pid: 0) == nil)
        #expect(ProcessIdentity.of(pid: -1) == nil)
    }

    private func spawn(_ script: String, blocked: [Int32] = []) throws -> ProcessIdentity {
        let process = DetachedProcess(
            executable: "/bin/sh", arguments: ["-c", script], environment: ["PATH": "/usr/bin:/bin"], output: .null,
            error: .null, blockedSignals: blocked)
        return try #require(ProcessIdentity.of(pid: try process.spawn()))
    }

    @Test(.timeLimit(.minutes(1))) func theEndIsToldWithStatus() async throws {
        #expect(try await spawn("sleep 0.05; exit 7").waitUntilEnded() == .exited(status: 7))
        let killed = try spawn("sleep 60")
        #expect(killed.signal(9))
        #expect(await killed.waitUntilEnded() == .signalled(9))
        #expect(!killed.isAlive)
    }

    @Test(.timeLimit(.minutes(1))) func aWaitCanBeCancelled() async throws {
        let process = try spawn("sleep 60")
        let wait = Task { await process.waitUntilEnded() }
        wait.cancel()
        #expect(await wait.value == nil)
        process.signal(9)
        _ = await process.waitUntilEnded()
    }

    @Test(.timeLimit(.minutes(1))) func blockedSignalsDoNotEndIt() async throws {
        let process = try spawn("read -r line < /proc/self/stat; exec sleep 60", blocked: [15, 2, 1])
        for number in [15, 2, 1] as [Int32] { #expect(process.signal(number)) }
        let status = try TextFile.read("/proc/\(process.pid)/status")
        let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("SigBlk:") })
        let mask = try #require(UInt64(line.dropFirst("SigBlk:".count).trimming(), radix: 16))
        #expect(mask & (1 << 14 | 1 << 1 | 1) == (1 << 14 | 1 << 1 | 1))
        #expect(process.isAlive)
        process.signal(9)
        #expect(await process.waitUntilEnded() == .signalled(9))
    }

    @Test(.timeLimit(.minutes(1))) func aSpawnedProcessHasASessionAndNoDescriptorsOfOurs() async throws {
        let scratch = try Scratch()
        let leak = try Descriptor(path: scratch.path + "/leak", flags: Descriptor.appending)
        let process = DetachedProcess(
            executable: "/bin/sh",
            arguments: ["-c", "ls /proc/self/fd | wc -l; ps -o sid= -p $$ | tr -d ' '; echo $$"],
            environment: ["PATH": "/usr/bin:/bin"], output: .append(path: scratch.path + "/out"), error: .null)
        _ = await ProcessIdentity.of(pid: try process.spawn())?.waitUntilEnded()
        let lines = try TextFile.read(scratch.path + "/out").split(separator: "\n")
        // 0, 1, 2 and the directory that ls itself opens.
        #expect(lines.first?.trimming() == "4")
        #expect(lines.dropFirst().first == lines.last, "its session is its own")
        withExtendedLifetime(leak.number) {}
    }

    @Test func whatCannotBeStartedIsAnError() {
        let process = DetachedProcess(
            executable: "/nonexistent", arguments: [], environment: [:], output: .null, error: .null)
        #expect(throws: SystemCallError.self) { try process.spawn() }
    }
}

@Suite struct FileTests {
    @Test func aFileIsReplacedWholeOrNotAtAll() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/file"
        try TextFile.replace(path, with: "one")
        try TextFile.replace(path, with: "two")
        #expect(try TextFile.read(path) == "two")
        #expect(throws: SystemCallError.self) { try TextFile.replace(scratch.path + "/none/file", with: "x") }
        #expect(try Files.names(in: scratch.path) == ["file"])
        #expect(throws: SystemCallError.self) { try TextFile.read(path, limit: 2) }
        #expect(TextFile.tail(path, count: 2) == "wo")
        #expect(TextFile.tail(scratch.path + "/none", count: 2) == "")
    }

    @Test func aCopyKeepsContentAndHoles() throws {
        let scratch = try Scratch()
        let source = scratch.path + "/source"
        let content = [UInt8](repeating: 7, count: 5000)
        try TextFile.replace(source, with: content)
        try Files.copy(source, to: scratch.path + "/copy")
        #expect(try TextFile.bytes(scratch.path + "/copy") == content)
    }

    /// Between file systems the kernel refuses to copy; /dev/shm is one of its own wherever there is one.
    @Test(.enabled(if: Files.kind("/dev/shm") == .directory)) func aCopyCrossesFileSystems() throws {
        let scratch = try Scratch()
        let there = "/dev/shm/ha-test-\(HostProcess.pid)"
        defer { try? Files.remove(there) }
        let content = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 / 1000) }
        try TextFile.replace(there, with: content)
        try Files.copy(there, to: scratch.path + "/copy")
        #expect(try TextFile.bytes(scratch.path + "/copy") == content)
    }

    @Test func moveIfAbsentNeverReplaces() throws {
        let scratch = try Scratch()
        for name in ["a", "b"] { try TextFile.replace("\(scratch.path)/\(name)", with: name) }
        #expect(throws: SystemCallError.self) {
            try Files.moveIfAbsent(scratch.path + "/a", to: scratch.path + "/b")
        }
        #expect(try TextFile.read(scratch.path + "/b") == "b")
    }

    @Test func aDirectoryIsRemovedWithWhatIsInItAndNotThroughLinks() async throws {
        let scratch = try Scratch()
        try Files.makeDirectory(scratch.path + "/keep")
        try TextFile.replace(scratch.path + "/keep/file", with: "x")
        try Files.makeDirectory(scratch.path + "/tree/deep")
        _ = try await Tool("ln", ["-s", scratch.path + "/keep", scratch.path + "/tree/link"]).run()
        try Files.remove(scratch.path + "/tree")
        #expect(try Files.names(in: scratch.path) == ["keep"])
        #expect(Files.kind(scratch.path + "/keep/file") == .regular)
        try Files.remove(scratch.path + "/never-there")
    }
}

@Suite struct SocketTests {
    @Test func portsAndPaths() throws {
        let port = try LoopbackPort.free()
        #expect(LoopbackPort.isFree(port))
        #expect(UnixSocket.maximumPathLength == 107 || UnixSocket.maximumPathLength == 103)
        #expect(UnixSocket.listener(path: "/nonexistent/socket") == nil)
        #expect(throws: SystemCallError.self) {
            _ = try UnixSocket.connect(path: "/" + String(repeating: "x", count: 200))
        }
    }
}

@Suite struct ToolTests {
    @Test(.timeLimit(.minutes(1))) func statusOutputAndInput() async throws {
        let result = try await Tool("sh", ["-c", "cat; echo oops >&2; exit 3"], input: "hello").run()
        #expect(result == Tool.Result(status: 3, output: "hello", error: "oops\n"))
        #expect(result.complaint == "oops")
        await #expect(throws: (any Error).self) { try await Tool("no-such-program-here", []).run() }
    }

    @Test(.timeLimit(.minutes(1))) func cancellingEndsTheHelper() async throws {
        let began = ContinuousClock.now
        let task = Task { try await Tool("sleep", ["600"]).run() }
        try await Task.sleep(for: .milliseconds(100))
        task.cancel()
        _ = try? await task.value
        #expect(began.duration(to: .now) < .seconds(30))
    }

    @Test(.timeLimit(.minutes(1))) func aHelperDoesNotSpeakInTheAgentsName() async throws {
        let result = try await Tool("sh", ["-c", "echo ${NOTIFY_SOCKET-unset}"]).run()
        #expect(result.output == "unset\n")
    }
}

extension Substring {
    func trimming() -> String { String(self).trimmed }
}

@Suite struct SpareNameTests {
    @Test(arguments: [
        "", "echo x > s", "mkdir s", "ln -s /nowhere s", "python3 -c 'import socket; socket.socket(1).bind(\"s\")'",
    ])
    func aSocketGetsItsNameBack(_ instead: String) async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/s"
        let bind = "import socket, sys; socket.socket(1).bind(sys.argv[1])"
        #expect(try await Tool("python3", ["-c", bind, path]).run().succeeded)
        let name = SpareName(of: path)
        name.keep()
        #expect(name.isTrue && !name.restore(), "nothing to be done")
        let inode = try await Tool("stat", ["-c", "%i", path]).run().output
        try Files.remove(path)
        #expect(!name.isTrue)
        #expect(try await Tool("sh", ["-c", "cd \"$1\"; \(instead)", "sh", scratch.path]).run().succeeded)
        #expect(name.restore() && name.isTrue)
        #expect(try await Tool("stat", ["-c", "%i", path]).run().output == inode)
        #expect(try Files.names(in: scratch.path) == (instead.isEmpty ? [".s", "s"] : [".s", "s", "s.aside"]))
        name.remove()
        try Files.remove(path)
        #expect(!name.restore() && Files.kind(path) == nil)
    }

    @Test func whatIsNoSocketGetsNone() throws {
        let scratch = try Scratch()
        try TextFile.replace(scratch.path + "/s", with: "x")
        SpareName(of: scratch.path + "/s").keep()
        #expect(try Files.names(in: scratch.path) == ["s"])
    }
}
