import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Mounts that come and go while the guest runs.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct MountReloadTests {
    /// Writes the mounts of the instance anew.
    private func write(_ mounts: [String], _ home: borrowing TestHome) throws {
        let yaml = home.directory("mini") + "/lima.yaml"
        let other = try TextFile.read(yaml).split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.hasPrefix("mounts:") && !$0.hasPrefix("- {location") }
        try TextFile.replace(
            yaml, with: other.joined(separator: "\n") + "mounts:\n" + mounts.joined(separator: "\n") + "\n")
    }

    private func pending(_ home: borrowing TestHome) async throws -> [String] {
        try await AgentClient(socket: home.directory("mini") + "/ha.sock").info().pending?.map(\.key) ?? []
    }

    private func mounted(_ home: borrowing TestHome) async throws -> [String] {
        try await inGuest("grep ^hostagent: /proc/mounts | cut -d ' ' -f 2 | sort", of: home)
            .split(separator: "\n").map(String.init)
    }

    @Test func mountsComeAndGo() async throws {
        let home = try TestHome()
        let shared = home.path + "/_shared"
        for name in ["a", "b", "c"] {
            try Files.makeDirectory("\(shared)/\(name)")
            try TextFile.replace("\(shared)/\(name)/name", with: "\(name)\n")
        }
        func line(_ name: String, _ point: String, _ more: String = "") -> String {
            "- {location: \"\(shared)/\(name)\", mountPoint: \"\(point)\"\(more)}"
        }
        let a = line("a", "/mnt/a", ", writable: true")
        try await home.succeeds("create", "mini")
        try write([a, line("b", "/mnt/b")], home)
        try await home.succeeds("start", "mini")
        #expect(try await mounted(home) == ["/mnt/a", "/mnt/b"])

        // One goes while a program works in it, one comes within the one that stays. What is open in the latter lives on.
        _ = try await inGuest(
            """
            (exec 3> /mnt/a/open; while sleep 0.2; do echo x >&3 || exit; done) > /dev/null 2>&1 &
            (cd /mnt/b; exec sleep 1000) > /dev/null 2>&1 &
            """, of: home)
        let new = line("c", "/mnt/a/c d", ", writable: true")
        try write([a, new], home)
        let reloaded = try await home.run("reload", "mini")
        #expect(reloaded.succeeded && reloaded.output.contains("mounts"), "\(reloaded)")
        #expect(reloaded.error == "", "\(reloaded)")
        #expect(try await mounted(home) == ["/mnt/a", #"/mnt/a/c\040d"#])
        #expect(try await inGuest("cat '/mnt/a/c d/name'; echo new > '/mnt/a/c d/new'", of: home) == "c\n")
        #expect(try TextFile.read(shared + "/c/new") == "new\n")
        #expect(try await pending(home) == [])
        let size = try TextFile.read(shared + "/a/open").utf8.count
        let grows = try await eventually(within: 10) { try TextFile.read(shared + "/a/open").utf8.count > size }
        #expect(grows)
        let status = try await inGuest("ls /mnt/b; ls -d /mnt/b", of: home)
        #expect(status == "/mnt/b\n")
        let states = try home.events("mini").compactMap { event -> String? in
            guard case .mount(let mount) = event.event else { return nil }
            return "\(mount.state) \(mount.mountPoint)"
        }
        #expect(states.suffix(2).sorted() == ["mounted /mnt/a/c d", "removed /mnt/b"], "\(states)")

        // The next agent knows, and so does the guest when it boots again.
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        #expect(agent.signal(9))
        _ = await agent.waitUntilEnded()
        try await home.succeeds("start", "mini")
        #expect(try await pending(home) == [])
        #expect(try await mounted(home) == ["/mnt/a", #"/mnt/a/c\040d"#])
        _ = try await inGuest("(sleep 0.5; reboot) > /dev/null 2>&1 &", of: home)
        #expect(try await eventually(within: 60) { try home.events("mini").contains { $0.kind == "guest-rebooted" } })
        let isThereAgain = try await eventually(within: 60) {
            try await mounted(home) == ["/mnt/a", #"/mnt/a/c\040d"#]
        }
        #expect(isThereAgain)

        // What cannot be done now is said, and the rest is done. The name of the port that went is used again.
        try write([new, line("b", "/mnt/b"), line("a", "/mnt/a")], home)
        let partly = try await home.run("reload", "mini")
        #expect(partly.succeeded && partly.error.contains("/mnt/a stays mounted until the next start"), "\(partly)")
        #expect(partly.error.contains("/a is mounted at /mnt/a from the next start on"), "\(partly)")
        #expect(try await mounted(home) == ["/mnt/a", #"/mnt/a/c\040d"#, "/mnt/b"])
        #expect(try await pending(home) == ["mounts"])
        try write([], home)
        try await home.succeeds("reload", "mini")
        #expect(try await mounted(home) == [])

        // A location that cannot be had is told about, and does not hold up the others.
        try TextFile.replace(shared + "/file", with: "x")
        try write([line("file", "/mnt/f"), line("b", "/mnt/b")], home)
        let failed = try await home.run("reload", "mini")
        #expect(failed.succeeded && failed.error.contains("/file is not mounted at /mnt/f"), "\(failed)")
        #expect(try await mounted(home) == ["/mnt/b"])
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Degraded\n")
        // The fault stays when the mount that was there before has gone.
        try write([line("file", "/mnt/b")], home)
        let replaced = try await home.run("reload", "mini")
        #expect(replaced.succeeded && replaced.error.contains("/file is not mounted at /mnt/b"), "\(replaced)")
        #expect(try await mounted(home) == [])
        #expect(try await home.run("list", "--format", "{{.Status}}").output == "Degraded\n")
        try write([line("b", "/mnt/b")], home)
        try await home.succeeds("reload", "mini")
        #expect(try await mounted(home) == ["/mnt/b"])
        let isHealthy = try await eventually(within: 10) {
            try await home.run("list", "--format", "{{.Status}}").output == "Running\n"
        }
        #expect(isHealthy)
        try await home.succeeds("stop", "mini")
    }
}
