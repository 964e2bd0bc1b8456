import HostModel
import HostOS
import HostTestSupport
import Testing

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

    /// The kernel refuses to copy between file systems. /dev/shm, where it exists, is a file system of its own.
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

    /// A directory is removed in which another process makes entries at the same time.
    @Test func aDirectoryThatFillsMeanwhileIsRemoved() async throws {
        let scratch = try Scratch()
        let directory = scratch.path + "/d"
        try Files.makeDirectory(directory)
        let filling = Task.detached {
            let script = "for i in $(seq 500); do : > \"$1/$i\" || exit 0; done"
            return try await Tool("sh", ["-c", script, "sh", directory]).run()
        }
        // Many tests begin at once, and the process waits for its turn.
        let isBeingFilled = await eventually(within: 60) { Files.kind(directory + "/3") != nil }
        #expect(isBeingFilled)
        try Files.remove(directory)
        #expect(Files.kind(directory) == nil)
        _ = try await filling.value
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

@Suite struct HostileDirectoryTests {
    /// A link planted under a name is not followed. It is replaced.
    @Test func aFileIsNotWrittenThroughALink() async throws {
        let scratch = try Scratch()
        let victim = scratch.path + "/victim"
        try TextFile.replace(victim, with: "mine")
        _ = try await Tool("ln", ["-s", victim, scratch.path + "/file"]).run()
        try TextFile.replace(scratch.path + "/file", with: "new")
        #expect(try TextFile.read(victim) == "mine" && TextFile.read(scratch.path + "/file") == "new")
        #expect(throws: SystemCallError.self) { try Files.copy(victim, to: scratch.path + "/file") }
        let names = Set((0..<1000).map { _ in TemporaryName.make() })
        #expect(names.count == 1000 && !names.contains(where: TemporaryName.isAbandoned))
    }

    @Test(arguments: [
        "notes.2024.new", ".hostagent-tmp-", ".hostagent-tmp-1-2", ".hostagent-tmp-x-1-2",
        ".hostagent-tmp-99999999-1-zz",
        ".hostagent-tmp-99999999-1-2-3", "hostagent-tmp-99999999-1-2", "",
    ])
    func namesThatAreNobodysLeftovers(_ name: String) { #expect(!TemporaryName.isAbandoned(name)) }

    /// An attacker replaces a directory with a link to another one while the tree is being removed.
    @Test(.timeLimit(.minutes(1))) func removingDoesNotLeaveTheTree() async throws {
        let scratch = try Scratch()
        let (outside, inside) = (scratch.path + "/outside", scratch.path + "/tree/inside")
        try Files.makeDirectory(outside)
        for number in 0..<50 { try TextFile.replace("\(outside)/\(number)", with: "x") }
        let script = """
            while [ -e "$1" ] || [ -L "$1" ] || [ -d "${1%/*}" ]; do
                mkdir -p "$1" 2> /dev/null; mv -T "$1" "$1.away" 2> /dev/null; ln -sfn "$2" "$1" 2> /dev/null
                rm -f "$1"; mv -T "$1.away" "$1" 2> /dev/null; [ -e "$3" ] && exit
            done
            """
        try Files.makeDirectory(inside)
        let stop = scratch.path + "/stop"
        async let swapping = Tool("timeout", ["20", "sh", "-c", script, "sh", inside, outside, stop]).run()
        for _ in 0..<300 {
            try Files.makeDirectory(inside)
            for number in 0..<5 { try? TextFile.replace("\(inside)/\(number)", with: "x") }
            try? Files.remove(inside)
        }
        try TextFile.replace(stop, with: "")
        _ = try await swapping
        #expect(try Files.names(in: outside).count >= 50, "nothing outside of the tree is removed")
    }
}

@Suite struct BoundedLogTests {
    @Test(.timeLimit(.minutes(2))) func aFloodIsCutAndItsEndKept() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/serial.log"
        try TextFile.replace(path, with: "")
        let limit = 1 << 20
        let watch = Task { await BoundedLog(path: path, limit: limit).run() }
        let writer =
            "for i in $(seq 1 300); do head -c 100000 /dev/zero | tr '\\0' x; echo; done >> \"$1\"; echo last >> \"$1\""
        #expect(try await Tool("sh", ["-c", writer, "sh", path]).run().succeeded)
        let bounded = await eventually(within: 20) { (Files.size(path) ?? .max) <= limit / 2 }
        #expect(bounded && (Files.size(path + ".1") ?? .max) <= limit / 2)
        let kept = TextFile.tail(path + ".1", count: 100) + TextFile.tail(path, count: 100)
        #expect(kept.hasSuffix("last\n"), "the newest are kept: \(kept)")
        // Cutting continues after the name is removed, because the writer continues too.
        let descriptor = try Descriptor(path: path, flags: Descriptor.appending)
        try Files.remove(path)
        try descriptor.write([UInt8](repeating: 120, count: 3 << 20), subject: path)
        let cut = await eventually(within: 20) { descriptor.size() <= limit / 2 }
        #expect(cut)
        watch.cancel()
        await watch.value
    }

    @Test(.timeLimit(.minutes(1))) func aLogThatIsNotThereIsNotWatched() async {
        await BoundedLog(path: "/nonexistent/log", limit: 1 << 20).run()
    }
}
