import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// A complete distribution with cloud-init, its own init and its own SSH server.
@Suite(.enabled(if: Checkout.canBootDebian), .largeGuestSlot)
struct DebianGuestTests {
    /// An archive in the form of containerd's, whose programs only tell that they ran.
    private func archive(in directory: String) async throws -> String {
        let (tree, archive) = (directory + "/tree", directory + "/containerd.tar.gz")
        let service = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
        let tool = "#!/bin/sh\necho \"$1 for $(id -un) in $XDG_RUNTIME_DIR\" >> ~/rootless\n"
        try Files.makeDirectory(tree + "/lib/systemd/system")
        try Files.makeDirectory(tree + "/bin")
        try TextFile.replace(tree + "/lib/systemd/system/containerd.service", with: service)
        try TextFile.replace(tree + "/bin/containerd-rootless-setuptool.sh", with: tool, mode: 0o755)
        let pack = ["--mode=u=rwX,go=rX", "-czf", archive, "-C", tree, "bin", "lib"]
        #expect(try await Tool("tar", pack).run().succeeded)
        return archive
    }

    @Test func bootsToRunningWithProvisioningAProbeAndProgress() async throws {
        let home = try TestHome()
        let work = try Scratch()
        try await home.succeeds("create", "--name", "template", "--cpus", "1", "debian-local")
        try await home.succeeds("disk", "create", "data", "--size", "64MiB")
        let yaml =
            try TextFile.read(home.directory("template") + "/lima.yaml")
                + """

                containerd: {system: true, user: true, archives: [{location: "\(try await archive(in: work.path))"}]}
                env: {GREETING: "hello there"}
                timezone: Europe/Berlin
                additionalDisks: [data]
                hostResolver: {hosts: {db.example: 10.1.2.3, alias.example: db.example}}
                provision:
                - {mode: data, path: /etc/deep/x, content: "for {{.User}}", owner: "{{.User}}", permissions: 600}
                - mode: system
                  script: |
                    #!/bin/bash
                    set -eux
                    echo "$GREETING" > /etc/greeting
                - mode: user
                  script: id -un > ~/who; systemctl --user is-system-running --wait >> ~/who
                probes:
                - description: the greeting is there
                  script: |
                    #!/bin/bash
                    grep -q hello /etc/greeting
                """ + portRules(hostSocket: work.path + "/host.sock")
        try await home.succeeds("create", "--name", "full", "-", input: yaml)
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
        #expect(shell.output == "lima\nrunning\nhello there\n0\nlima-full\n", "\(shell)")
        let containerd = try await home.run(
            "shell", "full", "sh", "-c", "systemctl is-active containerd; cat ~/rootless")
        #expect(containerd.output == "active\ninstall for lima in /run/user/1000\n", "\(containerd)")
        // What is written and set at every boot.
        let setUp =
            "stat -c '%U %a' /etc/deep/x; cat /etc/deep/x; echo; date +%Z | tr -d ES; "
            + "getent hosts db.example alias.example | tr -s ' '"
        let settings = "lima 600\nfor lima\nCT\n10.1.2.3 db.example\n10.1.2.3 alias.example\n"
        #expect(try await home.run("shell", "full", "sh", "-c", setUp).output == settings)
        // The guest confirms when cloud-init has ended.
        let confirmation = home.directory("full") + "/seed-applied"
        #expect(await eventually(within: 60) { Files.kind(confirmation) == .regular })
        let write = try await home.run(
            "shell", "full", "sudo", "sh", "-c", "echo kept > /root/proof; echo data > /mnt/lima-data/file; sync")
        #expect(write.succeeded)
        try await home.succeeds("stop", "full")
        let end = try home.events("full").last { $0.kind == "guest-ended" }
        #expect(end?.step == .ask, "shut down by asking, not cut off")

        // A changed configuration is always applied, and the file system grows with the disk.
        let changed = try await home.run("edit", "full", "--set", "disk=9GiB")
        #expect(changed.succeeded, "\(changed)")
        try await home.succeeds("start", "full")
        let size = try await home.run(
            "shell", "full", "sh", "-c", "cat /proc/cmdline; df --output=size -BG / | tail -1")
        #expect(!size.output.contains("cloud-init=disabled") && size.output.contains("9G"), "\(size)")
        // What was written is there, and the file system is clean.
        let again = try await home.run("shell", "full", "sudo", "sh", "-c", "cat /root/proof; dmesg | grep -c recovery")
        #expect(again.output == "kept\n0\n", "\(again)")
        #expect(try await home.run("shell", "full", "cat", "/mnt/lima-data/file").output == "data\n")
        #expect(await eventually(within: 60) { Files.kind(confirmation) == .regular })
        try await home.succeeds("stop", "full")

        // Nothing has changed, so cloud-init need not run. All else is as after the first start.
        try await home.succeeds("start", "full")
        let arguments = try await home.run("shell", "full", "cat", "/proc/cmdline").output
        #expect(arguments.contains("cloud-init=disabled"))
        #expect(try await home.run("shell", "full", "systemctl", "is-active", "cloud-init").output == "inactive\n")
        #expect(try await home.run("shell", "full", "sh", "-c", setUp).output == settings)
        #expect(try await home.run("shell", "full", "cat", "/mnt/lima-data/file").output == "data\n")
        #expect(try home.events("full").contains { $0.kind == "guest-ready" })
        try await checkPorts(home, "full", hostSocket: work.path + "/host.sock")

        // A disk that was restored is older than what the host remembers. The guest is set up all the same.
        try await home.succeeds(
            "shell", "full", "sudo", "sh", "-c", "echo older > /var/lib/hostagent/applied; rm /etc/deep/x; sync")
        try await home.succeeds("stop", "full")
        try await home.succeeds("start", "full")
        let older = "in the guest: the disk was not set up with this configuration; cloud-init runs now"
        #expect(try home.events("full").contains { $0.message == older })
        #expect(try await home.run("shell", "full", "sh", "-c", setUp).output == settings)
        #expect(try await home.run("shell", "full", "cat", "/run/cloud-init/result.json").output.contains("errors"))
        try await home.succeeds("stop", "full")
    }
}
