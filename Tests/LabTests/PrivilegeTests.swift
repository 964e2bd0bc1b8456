import HostModel
import HostOS
import HostTestSupport
import Testing

/// Where root and the owner of an instance meet.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .timeLimit(.minutes(6)))
struct PrivilegeTests {
    @Test func whatRootRegistersForAnAccountIsTheAccounts() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            #expect(try await lab.root("rm \(Lab.home)/default/hostagent.yaml").succeeded)
            let enabled = try await lab.root(
                "LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart enable default --condition=boot --user tester "
                    + "--keep-alive=always")
            #expect(enabled.succeeded, "\(enabled)")
            #expect(
                try await lab.root("cd \(Lab.home)/default; stat -c '%U' *; cat hostagent.yaml").output
                    .split(separator: "\n").filter { $0 != "tester" } == ["keepAlive: always"])
            #expect(try await lab.root("systemctl start lima-vm@default").succeeded)
            #expect(try await lab.root("systemctl stop lima-vm@default").succeeded)

            // A lock that root makes would keep the owner out.
            #expect(try await lab.root("rm \(Lab.home)/default/agent.lock").succeeded)
            let disabled = try await lab.root("LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart disable default")
            #expect(disabled.succeeded, "\(disabled)")
            #expect(try await lab.root("cd \(Lab.home)/default; find . -user root").output == "")
            try await lab.tester("hostagent start default && hostagent stop default")
        }
    }

    @Test func aRefusedSecondCallLeavesNothing() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            try await lab.allowSudo()
            let path = try await lab.refuseSudo(call: 2)
            let refused = try await lab.user(
                "tester", "PATH=\(path):$PATH \(Lab.hostagent) autostart enable default --condition=boot")
            #expect(refused.status == 77 && refused.error.contains("does not let tester enable"), "\(refused)")
            #expect(try await lab.root("find /etc/systemd -name 'lima-vm@*'").output == "")
            try await lab.tester("hostagent autostart enable default --condition=boot")
        }
    }
}

extension Lab {
    /// Lets `tester` use sudo without a password, and counts.
    func allowSudo() async throws {
        let sudoers = "Defaults logfile=/var/log/sudo-calls\\ntester ALL=(root) NOPASSWD: ALL\\n"
        let result = try await root(
            "printf '\(sudoers)' > /etc/sudoers.d/tester; chmod 440 /etc/sudoers.d/tester; : > /var/log/sudo-calls")
        #expect(result.succeeded, "\(result)")
    }

    /// Calls of sudo since this was asked last.
    func sudoCalls() async throws -> Int {
        let count = try await root("grep -c COMMAND= /var/log/sudo-calls; : > /var/log/sudo-calls")
        return Int(count.output.trimmed) ?? 0
    }

    /// A directory with a `sudo` that refuses one call and lets the others through.
    func refuseSudo(call: Int) async throws -> String {
        let script = """
            #!/bin/sh
            echo >> /tmp/refuse/calls
            [ $(wc -l < /tmp/refuse/calls) != \(call) ] || { echo "sudo: a password is required" >&2; exit 1; }
            exec /usr/bin/sudo "$@"
            """
        try await write("/tmp/refuse/sudo", script, owner: "tester")
        #expect(try await root("chmod 755 /tmp/refuse/sudo; chown tester /tmp/refuse").succeeded)
        return "/tmp/refuse"
    }
}
