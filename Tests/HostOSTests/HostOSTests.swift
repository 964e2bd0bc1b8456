import HostModel
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
        // flock(1) takes flock(2) locks, and ours are of another kind. A file that merely exists is not a lock.
        try TextFile.replace(path, with: "1234\n")
        #expect(try !FileLock.isHeld(path: path))
    }

    /// The file is deleted and created again between opening and locking it. A lock on the old file would not keep
    /// others out.
    @Test func aLockIsOnTheFileThatIsThere() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/lock"
        var replacements = 3
        let taken = try FileLock.acquire(path: path) {
            guard replacements > 0 else { return }
            replacements -= 1
            try? TextFile.replace(path, with: "")
        }
        guard let lock = taken else {
            Issue.record("a free lock cannot be taken")
            return
        }
        #expect(replacements == 0 && lock.isStill(at: path))
        #expect(try FileLock.isHeld(path: path))
        #expect(
            try FileLock.acquire(path: scratch.path + "/other") { try? Files.remove(scratch.path + "/other") } == nil)
        lock.release()
    }

    /// Between fork and exec, a child has the open files of its parent. A lock that was given back is free all the same.
    /// Opening the named pipe keeps the child there.
    @Test func aChildThatWasJustForkedHoldsNoLock() async throws {
        let scratch = try Scratch()
        let (path, pipe) = (scratch.path + "/lock", scratch.path + "/pipe")
        #expect(try await Tool("mkfifo", [pipe]).run().succeeded)
        guard let lock = try FileLock.acquire(path: path) else {
            Issue.record("a free lock cannot be taken")
            return
        }
        let spawn = Task.detached {
            try DetachedProcess(
                executable: "/bin/true", arguments: [], environment: [:], output: .append(path: pipe), error: .null
            ).spawn()
        }
        let isForked = await eventually(within: 10) {
            children.contains { child in
                let files = "/proc/\(child)/fd"
                return ((try? Files.names(in: files)) ?? []).contains { Files.linkTarget("\(files)/\($0)") == path }
            }
        }
        #expect(isForked)
        lock.release()
        #expect(try !FileLock.isHeld(path: path))
        _ = try await Tool("cat", [pipe]).run()
        let child = try await spawn.value
        _ = await ProcessIdentity.of(pid: child)?.waitUntilEnded()
    }

    private var children: [String] {
        let tasks = (try? Files.names(in: "/proc/self/task")) ?? []
        return tasks.flatMap { task in
            let text = (try? TextFile.read("/proc/self/task/\(task)/children")) ?? ""
            return text.split(separator: " ").map(String.init)
        }
    }

    @Test func aSymbolicLinkIsNoLock() async throws {
        let scratch = try Scratch()
        _ = try await Tool("ln", ["-s", scratch.path + "/elsewhere", scratch.path + "/lock"]).run()
        #expect(throws: SystemCallError.self) { _ = try FileLock.acquire(path: scratch.path + "/lock") }
        #expect(Files.kind(scratch.path + "/elsewhere") == nil)
    }

    /// The number of a descriptor is only a claim. A descriptor that is not the lock is not touched.
    @Test func onlyTheHeldLockIsAdopted() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/lock"
        try TextFile.replace(path, with: "")
        for number in [-1, 0, 1, 2, 9999] as [Int32] {
            if FileLock.adopt(descriptor: number, path: path) != nil { Issue.record("adopted \(number)") }
        }
        #expect(StandardStreams.output(""), "standard output is still open")
        // This is the right file, but nobody holds its lock.
        let unlocked = try Descriptor(path: path, flags: 2)
        if FileLock.adopt(descriptor: unlocked.number, path: path) != nil { Issue.record("adopted an unlocked file") }
        // This is another file.
        let other = try Descriptor(path: scratch.path + "/other", flags: Descriptor.appending)
        if FileLock.adopt(descriptor: other.number, path: path) != nil { Issue.record("adopted another file") }
        #expect(
            Files.kind("/proc/self/fd/\(unlocked.number)") != nil && Files.kind("/proc/self/fd/\(other.number)") != nil)
    }
}

@Suite struct EvidenceOfProcessesTests {
    /// The cases are a file with a second name, a copy of it, and a directory that was moved.
    @Test(.timeLimit(.minutes(1))) func whichDirectoryAFileWasOpenedIn() async throws {
        let scratch = try Scratch()
        let (original, linked, moved) = (scratch.path + "/orig", scratch.path + "/linked", scratch.path + "/moved")
        try Files.makeDirectory(original)
        try TextFile.replace(original + "/disk", with: "x")
        _ = try await Tool("cp", ["-al", original, linked]).run()
        let process = DetachedProcess(
            executable: "/bin/sleep", arguments: ["60"], environment: [:], output: .append(path: original + "/disk"),
            error: .null)
        let identity = try #require(ProcessIdentity.of(pid: try process.spawn()))
        #expect(identity.hasOpen(original + "/disk"))
        #expect(!identity.hasOpen(linked + "/disk"), "a hard link is another directory's")
        try Files.move(original, to: moved)
        #expect(identity.hasOpen(moved + "/disk"))
        _ = try await Tool("cp", ["-a", moved, original]).run()
        #expect(!identity.hasOpen(original + "/disk") && !identity.hasOpen(scratch.path + "/none"))
        #expect(identity.owner == HostProcess.uid)
        identity.signal(9)
        _ = await identity.waitUntilEnded()
        #expect(identity.owner == nil && !identity.hasOpen(moved + "/disk"))
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
        // The descriptors are 0, 1, 2 and the directory that ls itself opens.
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

@Suite struct SocketTests {
    @Test func portsAndPaths() throws {
        // Another process may take the port between the two calls.
        #expect(try (0..<10).contains { _ in LoopbackPort.isFree(try LoopbackPort.free()) })
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

    /// Too much output of a helper is cut and is not an error. The beginning of its output and the end of its errors
    /// are kept.
    @Test(.timeLimit(.minutes(1))) func aChattyHelper() async throws {
        let script =
            "head -c 9000000 /dev/zero | tr '\\0' o; (head -c 9000000 /dev/zero | tr '\\0' e; echo; echo why) >&2; exit 4"
        let result = try await Tool("sh", ["-c", script]).run(outputLimit: 1000)
        #expect(result.status == 4 && result.isCut && result.output == String(repeating: "o", count: 1000))
        #expect(result.error.utf8.count <= 1 << 20 && result.complaint == "why")
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

@Suite struct HiddenSocketNameTests {
    @Test(arguments: [
        "", "echo x > s", "mkdir s", "ln -s /nowhere s", "python3 -c 'import socket; socket.socket(1).bind(\"s\")'",
    ])
    func aSocketGetsItsNameBack(_ instead: String) async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/s"
        let bind = "import socket, sys; socket.socket(1).bind(sys.argv[1])"
        #expect(try await Tool("python3", ["-c", bind, path]).run().succeeded)
        let name = HiddenSocketName(of: path)
        name.keep()
        #expect(name.isIntact && !name.restore(), "nothing to be done")
        let inode = try await Tool("stat", ["-c", "%i", path]).run().output
        try Files.remove(path)
        #expect(!name.isIntact)
        #expect(try await Tool("sh", ["-c", "cd \"$1\"; \(instead)", "sh", scratch.path]).run().succeeded)
        #expect(name.restore() && name.isIntact)
        #expect(try await Tool("stat", ["-c", "%i", path]).run().output == inode)
        #expect(try Files.names(in: scratch.path) == (instead.isEmpty ? [".s", "s"] : [".s", "s", "s.aside"]))
        name.remove()
        try Files.remove(path)
        #expect(!name.restore() && Files.kind(path) == nil)
    }

    @Test func whatIsNoSocketGetsNone() throws {
        let scratch = try Scratch()
        try TextFile.replace(scratch.path + "/s", with: "x")
        HiddenSocketName(of: scratch.path + "/s").keep()
        #expect(try Files.names(in: scratch.path) == ["s"])
    }
}
