import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// A complete distribution with cloud-init, its own init and its own SSH server.
@Suite(.enabled(if: Checkout.canBootDebian), .guestSlot, .timeLimit(.minutes(15)))
struct DebianGuestTests {
    @Test func bootsToRunningWithProvisioningAProbeAndProgress() async throws {
        let home = try TestHome()
        #expect(try await home.run("create", "--name", "template", "debian").succeeded)
        let yaml =
            try TextFile.read(home.directory("template") + "/lima.yaml")
                + """

                env: {GREETING: "hello there"}
                provision:
                - mode: system
                  script: |
                    #!/bin/bash
                    set -eux
                    echo "$GREETING" > /etc/greeting
                - mode: user
                  script: id -un > ~/who
                probes:
                - description: the greeting is there
                  script: |
                    #!/bin/bash
                    grep -q hello /etc/greeting
                """
        #expect(try await home.run("create", "--name", "full", "-", input: yaml).succeeded)
        let started = try await home.run("start", "full")
        #expect(started.succeeded, "\(started) \(TextFile.tail(home.directory("full") + "/serial.log", count: 3000))")
        let info = try await AgentClient(socket: home.directory("full") + "/ha.sock").info()
        #expect(info.state == .running, "\(info.errors)")

        let events = try home.events("full")
        let lines = events.compactMap { $0.status.cloudInitProgress?.logLine }
        #expect(lines.contains { $0.contains("Cloud-init") }, "cloud-init's log comes as progress: \(lines)")
        #expect(events.contains { $0.status.cloudInitProgress?.completed == true })

        let shell = try await home.run(
            "shell", "full", "sh", "-c", "cat ~/who; cat /etc/greeting; sudo id -u; hostname")
        #expect(shell.output == "lima\nhello there\n0\nlima-full\n", "\(shell)")
        let write = try await home.run("shell", "full", "sudo", "sh", "-c", "echo kept > /root/proof; sync")
        #expect(write.succeeded)
        #expect(try await home.run("stop", "full").succeeded)
        let end = try home.events("full").last { $0.kind == "guest-ended" }
        #expect(end?.step == .ask, "shut down by asking, not cut off")

        // The next boot provisions again and finds the file that was written. Its file system is clean.
        #expect(try await home.run("start", "full").succeeded)
        let again = try await home.run("shell", "full", "sudo", "sh", "-c", "cat /root/proof; dmesg | grep -c recovery")
        #expect(again.output == "kept\n0\n", "\(again)")
        #expect(try await home.run("stop", "full").succeeded)
    }
}
