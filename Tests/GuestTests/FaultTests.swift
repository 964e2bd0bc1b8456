import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Bad input and a bad world, by the real program: one clear sentence, the right status, nothing half-made.
@Suite(.enabled(if: Checkout.canBootGuests), .timeLimit(.minutes(5)))
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
        for command in [["start"], ["stop"], ["info"], ["delete"], ["shell", "default"], ["events"], ["list", "x"]] {
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
        #expect(try await home.run("create", "--name", "good", "mini").succeeded)
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
        #expect(try await home.run("delete", "worse").succeeded)
    }

    @Test func noQEMU() async throws {
        let home = try TestHome()
        #expect(try await home.run("create", "mini").succeeded)
        // A PATH with everything but QEMU.
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
        // Root may write anywhere but where nobody may: /proc takes no directories, a read-only mount takes nothing.
        let home = try TestHome()
        let result = try await home.run("create", "mini", environment: ["LIMA_HOME": "/proc/home"])
        #expect(result.status == 73 && result.error.contains("LIMA_HOME"), "\(result)")
    }

    @Test(.enabled(if: HostProcess.uid == 0)) func aFullDisk() async throws {
        let home = try TestHome()
        let small = home.path + "/small"
        try Files.makeDirectory(small)
        #expect(try await Tool("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", small]).run().succeeded)
        let result = try await home.run("create", "mini", environment: ["LIMA_HOME": small])
        let left = try Files.names(in: small)
        _ = try await Tool("umount", [small]).run()
        #expect(result.status == 73, "\(result)")
        #expect(result.error.contains("No space left"), "\(result)")
        #expect(left == [])
    }

    @Test func aLiveStrangerOnTheSocketIsRespected() async throws {
        let home = try TestHome()
        #expect(try await home.run("create", "mini").succeeded)
        let script =
            "import socket,sys,time\ns=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); time.sleep(60)"
        let socket = home.directory("mini") + "/ha.sock"
        let stranger = Task { try await Tool("python3", ["-c", script, socket]).run() }
        #expect(await eventually(within: 20) { UnixSocket.listener(path: socket) != nil })
        let result = try await home.run("start", "mini", "--foreground")
        #expect(result.status == 75 && result.error.contains("not a hostagent"), "\(result)")
        stranger.cancel()
        _ = try? await stranger.value
    }
}
