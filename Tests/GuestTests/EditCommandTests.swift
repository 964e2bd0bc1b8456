import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// `edit` with an editor and at a terminal, and what it offers for a running guest.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct EditCommandTests {
    /// Runs a command at a terminal (script(1)) with the input that a person types there.
    private func terminal(_ home: borrowing TestHome, _ command: String, typed: String) async throws -> Tool.Result {
        let tool = home.tool([])
        return try await Tool(
            "script", ["-q", "-e", "-c", "\(Checkout.binary) \(command)", "/dev/null"], input: typed,
            environment: tool.environment
        ).run()
    }

    @Test func anEditorOfAnyShape() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        let original = try TextFile.read(yaml)

        // The editor may have arguments of its own. VISUAL takes precedence over EDITOR.
        let edited = try await home.run(
            "edit", "mini", environment: ["VISUAL": "sed -i 's/^cpus: 1/cpus: 3/'", "EDITOR": "false"])
        #expect(edited.succeeded && edited.output == "saved; it counts from the next start\n", "\(edited)")
        #expect(try TextFile.read(yaml) == original.replacing("cpus: 1", with: "cpus: 3"))

        let unchanged = try await home.run("edit", "mini", environment: ["VISUAL": nil, "EDITOR": "true"])
        #expect(unchanged.output == "nothing was changed\n")

        // If the editor fails, the file that it left is ignored.
        let failed = try await home.run(
            "edit", "mini", environment: ["VISUAL": nil, "EDITOR": "sh -c 'echo > $0; exit 3'"])
        #expect(failed.status == 1 && failed.error.contains("the editor ended with status 3"), "\(failed)")

        // A mistake is not saved, and the typed text is not lost.
        let before = try TextFile.read(yaml)
        let rejected = try await home.run(
            "edit", "mini", environment: ["VISUAL": nil, "EDITOR": "sed -i 's/^cpus: 3/cpus: many/'"])
        #expect(rejected.status == 65 && rejected.error.contains("lima.yaml.rejected"), "\(rejected)")
        #expect(try TextFile.read(yaml) == before)
        #expect(try TextFile.read(yaml + ".rejected").contains("cpus: many"))

        // So it is if the editor saved other bytes than text.
        let latin = try await home.run(
            "edit", "mini", environment: ["VISUAL": nil, "EDITOR": "sh -c 'printf \"# \\\\351\\n\" >> $0'"])
        #expect(latin.status == 65 && latin.error.contains("is not UTF-8 text"), "\(latin)")
        #expect(try TextFile.bytes(yaml + ".rejected", limit: 1 << 20).suffix(2) == [0xe9, 0x0a])
        #expect(try TextFile.read(yaml) == before)

        let nowhere = try await home.run("edit", "mini", environment: ["VISUAL": nil, "EDITOR": nil])
        #expect(nowhere.status == 64 && nowhere.error.contains("--set KEY=VALUE"), "\(nowhere)")
        #expect(try Files.names(in: home.directory("mini")).allSatisfy { !$0.contains("hostagent-draft") })
    }

    /// A template with bases becomes an instance that depends on no other file.
    @Test func aTemplateWithBasesAndScriptsInFiles() async throws {
        let home = try TestHome()
        let top = home.path + "/top.yaml"
        try Files.makeDirectory(home.path + "/_config")
        try TextFile.replace(home.path + "/_config/base.yaml", with: "env: {ALL: every}\n")
        try TextFile.replace(home.path + "/more.yaml", with: "memory: 300MiB\nenv: {FROM: more}\n")
        try TextFile.replace(home.path + "/a.sh", with: "#!/bin/sh\necho \"$PARAM_word $FROM $ALL\" > /data/a\n")
        try TextFile.replace(
            top,
            with: """
                base: [more.yaml, template:mini]
                cpus: 2
                param: {word: hello}
                provision:
                - file: a.sh

                """)
        let valid = try await home.run("validate", top, "template:mini")
        #expect(valid.succeeded && valid.output == "\(top) is valid\ntemplate:mini is valid\n", "\(valid)")
        let created = try await home.run("create", "--name", "t", top)
        #expect(created.succeeded, "\(created)")
        for file in [top, home.path + "/more.yaml", home.path + "/a.sh"] { try Files.remove(file) }
        let started = try await home.run("start", "t")
        #expect(started.succeeded, "\(started)")
        #expect(try await home.run("shell", "t", "cat", "/data/a").output == "hello more every\n")
        #expect(try await home.run("list", "--format", "{{.CPUs}} {{.Memory}}", "t").output == "2 314572800\n")
        try await home.succeeds("stop", "t")
        // Other programs get the configuration as data, and as a file that is complete.
        let config = try await home.run("list", "--format", "{{json .Config}}", "t").output
        #expect(config.contains(#""cpus":2,"#) && config.contains(#""plain":false"#), "\(config)")
        let filled = try await home.run("template", "copy", "--fill", home.directory("t") + "/lima.yaml")
        #expect(filled.succeeded && filled.output.contains("\ndisk: "), "\(filled)")
        try TextFile.replace(home.path + "/filled.yaml", with: filled.output)
        let again = try await home.run("validate", "--fill", home.path + "/filled.yaml")
        #expect(again.output == "---\n" + filled.output, "\(again)")

        try TextFile.replace(top, with: "cpus: 1\nbase: top.yaml\n")
        let wrong = try await home.run("validate", "template:mini", top, home.path + "/nothing.yaml")
        #expect(wrong.status == 65 && wrong.output == "template:mini is valid\n", "\(wrong)")
        #expect(wrong.error.contains("top.yaml:2:7: base: the templates include each other"), "\(wrong)")
        #expect(wrong.error.contains("there is no template and no file"), "\(wrong)")
    }

    /// A value that does not count, now or ever, is not called saved without a word.
    @Test func aChangeWithoutEffectIsSaid() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        try Files.makeDirectory(home.path + "/_config")
        try TextFile.replace(home.path + "/_config/override.yaml", with: "cpus: 1\n")
        let overridden = try await home.run("edit", "mini", "--set", "cpus=2")
        #expect(overridden.succeeded && overridden.error.contains("_config/override.yaml:1:7 sets it"), "\(overridden)")
        let disk = try await home.run("edit", "mini", "--set", "os=Linux")
        #expect(disk.succeeded && disk.error.contains("without effect on an existing instance: os"), "\(disk)")
        #expect(disk.output == "saved\n")
        let yaml = home.directory("mini") + "/lima.yaml"
        try Files.move(yaml, to: home.path + "/shared.yaml")
        #expect(try await Tool("ln", ["-s", home.path + "/shared.yaml", yaml]).run().succeeded)
        let link = try await home.run("edit", "mini", "--set", "cpus=3")
        #expect(link.status == 64 && link.error.contains("is a symbolic link"), "\(link)")
        #expect(Files.linkTarget(yaml) != nil)
    }

    @Test func aRestartIsOfferedAndAShellStartsWhatIsStopped() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        // The instance is stopped. At a terminal the command asks, elsewhere it refuses, and with the flag it starts
        // the instance. The output is the command's alone.
        let refused = try await home.run("shell", "mini", "true")
        #expect(refused.status == 69 && refused.error.contains("hostagent shell --start mini"), "\(refused)")
        let declined = try await terminal(home, "shell mini true", typed: "n\n")
        #expect(declined.status == 69 && declined.output.contains("start it? [Y/n]"), "\(declined)")
        let started = try await home.run("shell", "--start", "mini", "nproc")
        #expect(started.succeeded && started.output == "1\n", "\(started)")

        let client = AgentClient(socket: home.directory("mini") + "/ha.sock")
        let first = try await client.info().run
        let kept = try await terminal(home, "edit mini --set cpus=2", typed: "n\n")
        #expect(kept.succeeded && kept.output.contains("restart it now? [y/N]"), "\(kept)")
        #expect(try await client.info().run == first)
        let restarted = try await terminal(home, "edit mini --set cpus=3", typed: "y\n")
        #expect(restarted.succeeded, "\(restarted)")
        #expect(try await home.run("shell", "mini", "nproc").output == "3\n")
        let quiet = try await home.run("edit", "--restart", "mini", "--set", "cpus=1")
        #expect(quiet.succeeded, "\(quiet)")
        #expect(try await home.run("shell", "mini", "nproc").output == "1\n")

        try await home.succeeds("stop", "mini")
        let asked = try await terminal(home, "shell mini nproc", typed: "\n")
        #expect(asked.succeeded && asked.output.contains("1\r\n"), "\(asked)")
        try await home.succeeds("stop", "mini")
    }
}
