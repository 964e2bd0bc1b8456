import Foundation
import GuestAccess
import HostModel
import HostOS
import HostTestSupport
import Testing

@Suite struct ChannelParserTests {
    private func parse(_ text: String) -> [ChannelMessage] {
        var parser = ChannelParser()
        return parser.feed(Array(text.utf8), now: 0)
    }

    @Test func messages() {
        let text = """
            {"type":"stage","stage":"provisioning"}
            {"type":"log","line":"a \\"b\\" \\u001b[31m"}
            {"type":"provision-failed","mode":"system","script":"001","status":7}
            {"type":"warning","line":"no yq"}
            {"type":"applied","seed":"iid-1"}
            {"type":"ready"}

            """
        #expect(
            parse(text) == [
                .provisioning, .log(line: #"a "b" [31m"#),
                .provisioningFailed(mode: "system", script: "001", status: 7),
                .warning("in the guest: no yq"), .applied(seed: "iid-1"), .ready,
            ])
    }

    @Test func reportsAboutMounts() {
        #expect(
            parse(
                """
                {"type":"mount","mount":0,"as":"reverse-sshfs"}
                {"type":"mount","mount":7,"line":"no \\u001b[31msshfs"}
                {"type":"mount","mount":2,"as":"virtiofs","line":"no such tag"}
                {"type":"changed","mount":3}
                {"type":"mount","mount":1,"as":"nfs"}
                {"type":"mount","as":"9p"}
                {"type":"mount","mount":1}

                """) == [
                    .mount(0, .mounted(.reverseSSHFS)), .mount(7, .failed(reason: "no [31msshfs")),
                    .mount(2, .refused(.virtioFS, reason: "no such tag")), .changesTold(3),
                    .dropped(
                        reason: "the guest sent a line that is not a message over its channel; such lines are dropped"),
                ])
        // Each is an event, so a guest may not send them without end.
        var parser = ChannelParser()
        let line = Array(#"{"type":"mount","mount":0,"as":"reverse-sshfs"}"#.utf8) + [10]
        let accepted = (0..<500).flatMap { _ in parser.feed(line, now: 1) }.filter {
            $0 == .mount(0, .mounted(.reverseSSHFS))
        }
        #expect(accepted.count == ChannelParser.maximumMountReports)
        #expect(parser.feed(line, now: 3).count == 1)
    }

    @Test func bytesMayComeInAnyPortions() {
        var parser = ChannelParser()
        var messages: [ChannelMessage] = []
        for byte in Array("{\"type\":\"ready\"}\n{\"type\":\"ready\"}\n".utf8) {
            messages += parser.feed([byte], now: 0)
        }
        #expect(messages == [.ready, .ready])
    }

    @Test(arguments: [
        "not json\n", "{}\n", "[]\n", "{\"type\":1}\n", "{\"type\":\"stage\",\"stage\":\"x\"}\n", "\u{0}\u{1}\n",
        "{\"type\":\"shutdown-host\"}\n", "{\"type\":\"log\"}\n", "\"ready\"\n", "{\"type\":\"ready\"\n",
    ])
    func nonsenseIsDroppedWithOneWarning(_ text: String) {
        let messages = parse(text + text + "{\"type\":\"ready\"}\n")
        #expect(messages.count == 2)
        guard case .dropped? = messages.first, messages.last == .ready else {
            Issue.record("\(messages)")
            return
        }
    }

    @Test func aLineWithoutEndDoesNotGrow() {
        var parser = ChannelParser()
        for _ in 0..<1000 { #expect(parser.feed([UInt8](repeating: 65, count: 10_000), now: 0) == []) }
        #expect(parser.feed(Array("\n".utf8), now: 0).count == 1)
        #expect(parser.feed(Array("{\"type\":\"ready\"}\n".utf8), now: 0) == [.ready])
    }

    @Test func aFloodIsCutAndEnds() {
        var parser = ChannelParser()
        let line = Array("{\"type\":\"log\",\"line\":\"x\"}\n".utf8)
        var got = 0
        for _ in 0..<5000 { got += parser.feed(line, now: 1).count }
        #expect(got == ChannelParser.maximumRate + 1, "the limit, and one warning")
        #expect(parser.feed(line, now: 2.5) == [.log(line: "x")])
    }

    /// A fixed number of rounds with random bytes: the parser returns only messages, and it goes on.
    @Test func fuzz() {
        var random = SystemRandomNumberGenerator()
        for round in 0..<3000 {
            var parser = ChannelParser()
            var bytes = (0..<Int.random(in: 0...300, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if round % 2 == 0 {
                bytes = Array(#"{"type":"log","line":"abc"}"#.utf8)
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            _ = parser.feed(bytes + [10], now: 0)
            #expect(parser.feed(Array("\n{\"type\":\"ready\"}\n".utf8), now: 5).last == .ready)
        }
    }
}

@Suite struct GuestSeedTests {
    private func seed(
        plain: Bool = false, environment: [(name: String, value: String)] = [("A", "it's $HOME")]
    ) throws -> GuestSeed {
        var seed = GuestSeed(
            instance: try InstanceName("my-vm.2_x"),
            user: .init(name: "ada", comment: "", uid: 1000, home: "/home/ada.guest", shell: "/bin/sh"),
            authorizedKeys: ["ssh-ed25519 AAAA lima"],
            network: .init(address: "192.168.5.15", gateway: "192.168.5.2", resolver: "192.168.5.3"), plain: plain)
        seed.environment = environment
        seed.scripts = [("system", "#!/bin/sh\ntrue\n"), ("user", "u"), ("system", "second")]
        return seed
    }

    @Test func files() throws {
        var seed = try seed()
        seed.dataFiles = [
            .init(
                path: "/etc/it's", content: "x", attributes: .init(owner: "ada", permissions: "600"),
                overwrites: false)
        ]
        seed.hosts = [("a", "10.0.0.1")]
        let files = seed.volume.files
        #expect(files["hostagent/provision/system/001"] == "#!/bin/sh\ntrue\n")
        #expect(files["hostagent/provision/system/002"] == "second")
        #expect(files["hostagent/provision/user/001"] == "u")
        #expect(files["hostagent/provision/data/001"] == "x")
        #expect(files["hostagent/provision/data/001.env"]?.contains(#"HOSTAGENT_FILE='/etc/it'\''s'"#) == true)
        #expect(files["hostagent/hosts"] == "a 10.0.0.1\n")
        #expect(files["hostagent/authorized_keys"] == "ssh-ed25519 AAAA lima\n")
        #expect(files["hostagent/env"]?.contains("HOSTAGENT_HOSTNAME='lima-my-vm-2-x'") == true)
        #expect(files["hostagent/environment"] == "A=it's $HOME\n")
        #expect(files["hostagent/environment.sh"] == #"export A='it'\''s $HOME'"# + "\n")
        #expect(files["user-data"]?.hasPrefix("#cloud-config\n{") == true)
        // A guest that Lima made runs boot.sh of any volume. Nothing else in the root is Lima's.
        #expect(files.keys.filter { !$0.hasPrefix("hostagent/") }.sorted() == ["boot.sh", "meta-data", "user-data"])
        #expect(files["boot.sh"]?.hasSuffix("exit 0\n") == true)
    }

    @Test func aPlainGuestIsAskedNothing() throws {
        let files = try seed(plain: true).volume.files
        #expect(files["user-data"]?.contains("bootcmd") == false)
        #expect(files["hostagent/provision/system/001"] == nil)
    }

    @Test func cloudInitGetsWhatOnlyItCanDo() throws {
        var seed = try seed()
        #expect(seed.volume.files["user-data"]?.contains("ca_certs") == false)
        seed.authorities = .init(removesDefaults: true, certificates: ["-----BEGIN CERTIFICATE-----\nA"])
        seed.upgradesPackages = true
        seed.user.passwordlessSudo = false
        let text = seed.volume.files["user-data"] ?? ""
        #expect(text.contains(#""ca_certs":{"remove_defaults":true,"trusted":["-----BEGIN CERTIFICATE-----\nA"]}"#))
        #expect(text.contains(#""package_upgrade":true"#) && !text.contains("NOPASSWD"))
    }

    /// What the boot script does at every boot needs no cloud-init, and may differ between a shell and a unit.
    @Test func onlyWhatCloudInitDoesChangesTheIdentity() throws {
        let plain = try seed().volume
        for change in ["disk", "clone", "user"] {
            var changed = try seed()
            switch change {
            case "disk": changed.diskSize = 1
            case "clone": changed.cloneIdentity = "x"
            default: changed.user.uid = 7
            }
            #expect(changed.volume.identity != plain.identity, "\(change)")
        }
        var changed = try seed(environment: [])
        changed.timeZone = "Europe/Berlin"
        changed.scripts = []
        changed.hosts = [("a", "1.2.3.4")]
        #expect(changed.volume.identity == plain.identity && changed.volume.files != plain.files)
    }

    @Test(arguments: ["plain", "it's", "$(reboot)", "a\\b", "", "\"x\"", "`x`"])
    func aQuotedWordIsItself(_ text: String) async throws {
        let result = try await Tool("sh", ["-c", "printf %s \(ShellWord.quoted(text))"]).run()
        #expect(result.output == text)
    }

    @Test(.enabled(if: ["genisoimage", "mkisofs", "xorrisofs"].contains { Tool.path(of: $0, in: nil) != nil }))
    func theVolumeIsWrittenOnceForOneContent() async throws {
        let scratch = try Scratch()
        let path = scratch.path + "/cidata.iso"
        try await SeedVolume.write(seed().volume.files, to: path, searchPath: nil)
        let first = Files.fingerprint(path)
        try await SeedVolume.write(seed().volume.files, to: path, searchPath: nil)
        #expect(Files.fingerprint(path) == first)
        try await SeedVolume.write(seed(environment: []).volume.files, to: path, searchPath: nil)
        #expect(Files.fingerprint(path) != first)
        #expect(try Files.names(in: scratch.path) == ["cidata.iso"])
    }

    /// hdiutil of macOS, as hdiutil(1) describes it: it appends `.iso` to a name without it, and never overwrites.
    @Test func macOSMakesTheVolumeWithItsOwnProgram() async throws {
        let scratch = try Scratch()
        let script = """
            #!/bin/sh
            [ "$1 $2 $3 $4 $5 $6 $7" = "makehybrid -quiet -iso -joliet -default-volume-name cidata -o" ] || exit 64
            case $8 in *.iso) ;; *) exit 65 ;; esac
            [ ! -e "$8" ] && [ -f "$9/user-data" ] && [ "$#" = 9 ] && echo volume > "$8"
            """
        try TextFile.replace(scratch.path + "/hdiutil", with: script)
        try Files.setMode(scratch.path + "/hdiutil", 0o755)
        for _ in 1...2 {
            try await SeedVolume.write(
                ["user-data": "b"], to: scratch.path + "/cidata.iso", searchPath: scratch.path)
        }
        #expect(try TextFile.read(scratch.path + "/cidata.iso") == "volume\n")
        #expect(try Set(Files.names(in: scratch.path)) == ["cidata.iso", "hdiutil"], "nothing is left behind")
    }

    @Test func withoutAToolTheErrorSaysSo() async throws {
        // The search continues in the administrators' directories, and none of these tools is there.
        let scratch = try Scratch()
        let error = await #expect(throws: HostError.self) {
            try await SeedVolume.write(["a": "b"], to: scratch.path + "/x.iso", searchPath: scratch.path)
        }
        #expect(error?.exitStatus == .unavailable)
    }
}

@Suite(.enabled(if: Tool.path(of: "ssh-keygen", in: nil) != nil)) struct SSHKeyTests {
    @Test func onePairForEverybodyAlsoAtOnce() async throws {
        let scratch = try Scratch()
        let directory = scratch.path + "/_config"
        let keys = try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<6 { group.addTask { try await SSHKey.ensure(in: directory).authorizedKey } }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(keys.count == 1)
        #expect(keys.first?.hasPrefix("ssh-ed25519 ") == true)
        let mode = try await Tool("stat", ["-c", "%a", directory + "/user"]).run().output
        #expect(mode == "600\n")
    }

    @Test func aLostPublicHalfIsMadeAgain() async throws {
        let scratch = try Scratch()
        let key = try await SSHKey.ensure(in: scratch.path).authorizedKey
        try Files.remove(scratch.path + "/user.pub")
        #expect(
            try await SSHKey.ensure(in: scratch.path).authorizedKey.split(separator: " ")[1]
                == key.split(separator: " ")[1])
    }
}

@Suite struct SSHConfigurationTests {
    @Test func sshReadsItAsMeant() async throws {
        let scratch = try Scratch()
        let configuration = SSHConfiguration(
            instance: try InstanceName("x"), identityFile: "/a b/100%/user", user: "ada", port: 60022)
        let file = scratch.path + "/ssh.config"
        try TextFile.replace(file, with: configuration.text)
        let shown = try await Tool("ssh", ["-F", file, "-G", "lima-x"]).run()
        #expect(shown.succeeded)
        for line in ["port 60022", "user ada", "hostname 127.0.0.1", "batchmode yes"] {
            #expect(shown.output.contains(line))
        }
    }
}

@Suite struct ChannelFuzzTests {
    /// However a guest's bytes are cut and changed, the parser returns messages without control characters and one
    /// warning.
    @Test func bytes() throws {
        try Fuzz.round("channel", seed: 3, count: 4000) { bytes in
            var parser = ChannelParser()
            var messages: [ChannelMessage] = []
            for part in stride(from: 0, to: bytes.count, by: 7) {
                messages += parser.feed(bytes[part..<min(bytes.count, part + 7)], now: 0)
            }
            let warnings = messages.filter { if case .dropped = $0 { true } else { false } }
            #expect(warnings.count <= 1)
            for case .log(let line) in messages { #expect(line.unicodeScalars.allSatisfy { $0.value >= 32 }) }
        }
    }
}
