import Foundation
import GuestAccess
import HostModel
import HostOS
import HostTestSupport
import Templates
import Testing

/// The way of a path from the host's file system to a program in the guest.
@Suite struct ChangedPathsTests {
    @Test func aMessage() {
        let paths = ChangedPaths([[], Array("src/a b.c".utf8), [0xFF, UInt8(ascii: "\n")]])
        #expect(paths.text == #". src/a\0040b.c \0377\0012"#)
        #expect(
            GuestChannel.Command.pathsChanged(mount: 3, owner: 1000, paths).line
                == #"{"type":"changed","mount":3,"owner":1000,"paths":". src/a\\0040b.c \\0377\\0012"}"# + "\n")
    }

    @Test func batchesTakeWhatFits() {
        var waiting = Set((0..<500).map { Array("directory/file\($0)".utf8) })
        waiting.insert(Array("directory".utf8))
        var batches: [[[UInt8]]] = []
        while !waiting.isEmpty { batches.append(ChangedPaths.batch(of: &waiting)) }
        #expect(batches.joined().count == 501 && Set(batches.joined()).count == 501)
        #expect(batches.first?.first == Array("directory".utf8))
        #expect(batches.allSatisfy { ChangedPaths($0).text.utf8.count <= 3072 } && batches.count < 6)

        // Even one that is longer than a message should be.
        waiting = [[UInt8](repeating: 0xFF, count: 4000)]
        #expect(ChangedPaths.batch(of: &waiting).count == 1 && waiting.isEmpty)
        #expect(ChangedPaths.batch(of: &waiting) == [])
    }

    /// The guest's script, as the shells of guests run it, with names that shells treat badly.
    @Test(arguments: ["sh", "bash", "busybox"])
    func theScriptUnderstandsEveryName(shell: String) async throws {
        let scratch = try Scratch()
        let (script, point) = (scratch.path + "/changed.sh", scratch.path + "/the second")
        try TextFile.replace(script, with: try #require(Templates.guestScripts["changed.sh"]))
        try Files.makeDirectory(point + "/d")
        // A link that somebody in the guest has put in the place of a directory, to another file system.
        #expect(symlink("/proc/self", point + "/link") == 0)
        try TextFile.replace(
            scratch.path + "/mounts", with: "1 reverse-sshfs rw,dir_cache=no \(point)\n0 virtiofs rw /the\n")
        // These stand for chown(1), and for the look into /proc/mounts.
        let prelude = """
            chown() { for word in "${PWD##*/}" "$@"; do printf '%s\\0' "$word"; done >> \(scratch.path)/got; }
            grep() {
                if [ "$1" = -q ]; then [ "$*" = '-q ^hostagent:1  /proc/mounts' ]; else command grep "$@"; fi
            }
            exec 5> \(scratch.path)/answer
            . "$0"
            """
        let inside: [[UInt8]] = [
            Array("a b".utf8), Array("-n".utf8), Array("*".utf8), Array("$(touch x)".utf8),
            Array(#"q"'\0101,}"#.utf8), [0xFF, 0x0A, 0x0A], Array("%s".utf8),
        ]
        let names =
            [[]] + inside + ["d/\u{E4}", "d/b", "link/maps", "missing/a"].map { Array($0.utf8) }
        let run = { (mount: Int) in
            let line = GuestChannel.Command.pathsChanged(mount: mount, owner: 1000, ChangedPaths(names)).line.trimmed
            let words = (shell == "busybox" ? ["sh"] : []) + ["-c", prelude, script, line]
            return try await Tool(shell, words).run()
        }
        let result = try await run(1)
        #expect(result.succeeded, "\(result)")
        let got = try TextFile.bytes(scratch.path + "/got", limit: 1 << 20).split(
            separator: 0, omittingEmptySubsequences: false)
        let here = Array("./".utf8)
        let expected =
            [Array("the second".utf8), Array("-h".utf8), Array("1000".utf8), Array("./.".utf8)]
            + inside.map { here + $0 }
            + ["d", "-h", "1000", "./\u{E4}", "./b"].map { Array($0.utf8) }
        #expect(got.dropLast().map(Array.init) == expected)
        #expect(try TextFile.read(scratch.path + "/answer") == #"{"type":"changed","mount":1}"# + "\n")
        try Files.remove(scratch.path + "/got")
        let unmounted = try await run(0)
        #expect(unmounted.succeeded && Files.kind(scratch.path + "/got") == nil, "\(unmounted)")
    }
}
