import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// What a watch of a tree reports, with real directories.
@Suite struct TreeWatchTests {
    /// Collects what is reported until all of the paths were.
    private func wait(for wanted: Set<String>, _ watch: TreeWatch) async throws -> Set<[UInt8]> {
        let found = try await withTimeLimit(.seconds(20)) {
            var seen: Set<[UInt8]> = []
            for await report in watch.reports {
                if case .changed(let paths) = report { seen.formUnion(paths) }
                if wanted.allSatisfy({ seen.contains(Array($0.utf8)) }) { break }
            }
            return seen
        }
        return try #require(found, "\(wanted) are not reported")
    }

    private func begin(_ path: String) async throws -> TreeWatch {
        let watch = TreeWatch(path: path)
        // What is asked of the watch is done after it has begun.
        _ = await watch.tellable([])
        return watch
    }

    @Test func filesAtEveryDepth() async throws {
        let scratch = try Scratch()
        try Files.makeDirectory(scratch.path + "/old/inner")
        try TextFile.replace(scratch.path + "/old/inner/file", with: "1")
        let watch = try await begin(scratch.path)
        let handle = try #require(FileHandle(forWritingAtPath: scratch.path + "/old/inner/file"))
        handle.write(Data("more".utf8))
        var seen = try await wait(for: ["old/inner/file"], watch)
        #expect(seen == [Array("old/inner/file".utf8)])
        try handle.close()

        // What is made within a directory that has just been made is not missed.
        try Files.makeDirectory(scratch.path + "/new/a/b/c")
        try TextFile.replace(scratch.path + "/new/a/b/c/file", with: "1")
        seen = try await wait(for: ["", "new", "new/a/b/c/file"], watch)
        try Files.remove(scratch.path + "/new/a")
        seen = try await wait(for: ["new"], watch)

        // A directory that moves is watched where it is.
        #expect(rename(scratch.path + "/old", scratch.path + "/moved") == 0)
        seen = try await wait(for: ["", "moved", "moved/inner/file"], watch)
        try TextFile.replace(scratch.path + "/moved/inner/other", with: "1")
        seen = try await wait(for: ["moved/inner", "moved/inner/other"], watch)
        #expect(!seen.contains { $0.starts(with: "old/".utf8) })
    }

    /// The guest may write in the directory, and so does whoever has it open. Nobody can have other places watched.
    @Test func linksLeadNowhere() async throws {
        let scratch = try Scratch()
        let outside = try Scratch()
        try Files.makeDirectory(outside.path + "/secret")
        #expect(symlink(outside.path, scratch.path + "/before") == 0)
        let watch = try await begin(scratch.path)
        #expect(symlink(outside.path, scratch.path + "/after") == 0)
        try TextFile.replace(outside.path + "/secret/file", with: "1")
        try TextFile.replace(scratch.path + "/end", with: "1")
        let seen = try await wait(for: ["end"], watch)
        #expect(!seen.contains { $0.contains(UInt8(ascii: "/")) })

        // A directory that is replaced by a link before it is looked at.
        #expect(await watch.tellable([Array("after/secret/file".utf8), Array("after".utf8)]) == [])
    }

    @Test func whatMayBeToldOf() async throws {
        let scratch = try Scratch()
        let odd: [UInt8] = [0xFF, 0x0A, 0x20, 0x5C]
        try Files.makeDirectory(scratch.path + "/tools")
        for name in ["plain", "setuid", "setgid", "tools/program"] {
            try TextFile.replace(scratch.path + "/" + name, with: "")
        }
        #expect(chmod(scratch.path + "/setuid", 0o4644) == 0)
        #expect(chmod(scratch.path + "/setgid", 0o2644) == 0)
        #expect(chmod(scratch.path + "/tools/program", 0o755) == 0)
        #expect(mkfifo(scratch.path + "/pipe", 0o600) == 0)
        let watch = try await begin(scratch.path)
        let path = Array(scratch.path.utf8) + [UInt8(ascii: "/")] + odd
        let descriptor = open(path.map { CChar(bitPattern: $0) } + [0], O_WRONLY | O_CREAT, 0o600)
        #expect(descriptor >= 0)
        close(descriptor)
        try TextFile.replace(scratch.path + "/end", with: "1")
        let seen = try await wait(for: ["end"], watch)
        #expect(seen.contains(odd))
        let asked = ["plain", "tools/program", "pipe", "missing", "plain/x"].map { Array($0.utf8) } + [odd]
        #expect(await watch.tellable(asked) == [Array("plain".utf8), Array("tools".utf8), odd])
        #expect(await watch.tellable([Array("setuid".utf8), Array("setgid".utf8)]) == [[]])
        // A file of another account, which only root can make.
        if HostProcess.uid == 0 {
            #expect(chown(scratch.path + "/plain", 65534, 65534) == 0)
            #expect(await watch.tellable([Array("plain".utf8)]) == [])
        }
    }

    @Test func aTreeThatIsTooDeep() async throws {
        let scratch = try Scratch()
        try Files.makeDirectory(scratch.path + String(repeating: "/d", count: TreeWatch.maximumDepth))
        let enough = try await begin(scratch.path)
        try TextFile.replace(scratch.path + "/end", with: "1")
        _ = try await wait(for: ["end"], enough)
        try Files.makeDirectory(scratch.path + String(repeating: "/d", count: TreeWatch.maximumDepth + 2))
        let reason = try await withTimeLimit(.seconds(20)) {
            for await case .incomplete(let reason) in enough.reports { return reason }
            return ""
        }
        #expect(reason == "it has directories within more than \(TreeWatch.maximumDepth) others")
    }

    @Test func aDirectoryThatIsNotThere() async throws {
        let scratch = try Scratch()
        var reports: [TreeWatch.Report] = []
        let watch = TreeWatch(path: scratch.path + "/missing")
        for await report in watch.reports { reports.append(report) }
        withExtendedLifetime(watch) {}
        #expect(reports == [.incomplete(reason: "it cannot be opened: No such file or directory")])
    }

    /// Somebody else puts another tree in the place of the directory. The watch stays with the one that it has.
    @Test func thePathLeadsElsewhereLater() async throws {
        let scratch = try Scratch()
        let (top, other) = (scratch.path + "/top", scratch.path + "/other")
        for path in [top, other + "/secret"] { try Files.makeDirectory(path) }
        let watch = try await begin(top)
        try Files.move(top, to: scratch.path + "/moved")
        try Files.move(other, to: top)
        try Files.makeDirectory(scratch.path + "/moved/secret")
        try TextFile.replace(top + "/secret/file", with: "1")
        try TextFile.replace(scratch.path + "/moved/secret/end", with: "1")
        let seen = try await wait(for: ["secret/end"], watch)
        #expect(!seen.contains(Array("secret/file".utf8)))
        #expect(await watch.tellable([Array("secret/file".utf8)]) == [])
    }
}
