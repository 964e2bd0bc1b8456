import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Commands of root for an instance that another account owns.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct PrivilegeTests {
    @Test func whatRootRegistersForAnAccountIsTheAccounts() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            #expect(try await lab.root("rm \(Lab.home)/default/hostagent.yaml").succeeded)
            try await lab.tester(
                """
                mkdir ~/read ~/write && echo word > ~/read/word && cat >> ~/.lima/default/lima.yaml << 'END'
                mounts:
                - {location: "~/read", mountPoint: /mnt/read}
                - {location: "~/write", mountPoint: /mnt/write, writable: true}
                END
                """)
            let enabled = try await lab.root(
                "LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart enable default --condition=boot --user tester "
                    + "--keep-alive=always")
            #expect(enabled.succeeded, "\(enabled)")
            #expect(
                try await lab.root("cd \(Lab.home)/default; stat -c '%U' *; cat hostagent.yaml").output
                    .split(separator: "\n").filter { $0 != "tester" } == ["keepAlive: always"])
            #expect(try await lab.root("systemctl start lima-vm@default").succeeded)
            // The servers of the mounts confine themselves within the sandbox of the unit.
            let word = try await lab.tester(
                "hostagent shell default sh -c 'cat /mnt/read/word && echo back > /mnt/write/back'; hostagent list --format '{{.Status}}'"
            )
            #expect(word == "word\nRunning\n")
            // An account without privileges finds its servers again after its agent was killed, and ends none.
            let servers = try await lab.root("pgrep -x sftp-server").output
            #expect(servers.split(separator: "\n").count == 2)
            #expect(try await lab.killAgent(of: "lima-vm@default"))
            let status = try await lab.tester(
                "hostagent list --format '{{.Status}}'; hostagent shell default cat /mnt/write/back")
            #expect(status == "Running\nback\n")
            #expect(try await lab.root("pgrep -x sftp-server").output == servers)
            #expect(try await lab.root("cd /home/tester/write; cat back; stat -c %U back").output == "back\ntester\n")
            #expect(try await lab.root("systemctl stop lima-vm@default").succeeded)

            // A lock file that root creates would keep the owner out.
            #expect(try await lab.root("rm \(Lab.home)/default/agent.lock").succeeded)
            let disabled = try await lab.root("LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart disable default")
            #expect(disabled.succeeded, "\(disabled)")
            #expect(try await lab.root("cd \(Lab.home)/default; find . -user root").output == "")
            try await lab.tester("hostagent start default && hostagent stop default")
        }
    }

    /// Root works in a directory whose owner decides what the names in it lead to.
    @Test func rootInAHostileDirectory() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            try await lab.write("/root/secret", "top: secret\n")
            #expect(try await lab.root("chmod 600 /root/secret").succeeded)
            let intact = "600 root top: secret\n"
            let look = "stat -c '%a %U' /root/secret | tr '\\n' ' '; cat /root/secret"

            // The links have every name that a temporary file of the settings could have had, and the name of the
            // settings file itself.
            try await lab.tester(
                """
                cd ~/.lima/default; rm -f hostagent.yaml
                for n in $(seq 1 4000); do ln -s /root/secret hostagent.yaml.$n.new; done
                """)
            let root = "LIMA_HOME=\(Lab.home) \(Lab.hostagent)"
            let enable = "\(root) autostart enable default --condition=boot --user tester --keep-alive=always"
            let enabled = try await lab.root(enable)
            #expect(enabled.succeeded, "\(enabled)")
            #expect(try await lab.root(look).output == intact)
            #expect(try await lab.root("stat -c '%U' \(Lab.home)/default/hostagent.yaml").output == "tester\n")
            #expect(try await lab.root("\(root) autostart disable default").succeeded)
            for file in ["hostagent.yaml", "lima.yaml", "ha.stdout.log", "agent.lock", "guest.json", "ha.sock"] {
                try await lab.tester(
                    "cd ~/.lima/default; [ ! -e \(file) ] || mv \(file) \(file).kept; ln -s /root/secret \(file)")
                for command in [
                    "autostart enable default --condition=boot --user tester --keep-alive=no", "start default",
                    "stop default", "stop --force default", "edit default --set cpus=2", "events default",
                    "info default",
                    "reload default", "list", "autostart status", "autostart disable default",
                ] {
                    let result = try await lab.root("timeout 100 env \(root) \(command)")
                    #expect(!(result.output + result.error).contains("secret\n"), "\(file), \(command): \(result)")
                    #expect(try await lab.root(look).output == intact, "\(file), \(command)")
                }
                try await lab.tester(
                    "cd ~/.lima/default; rm -f \(file); [ ! -e \(file).kept ] || mv \(file).kept \(file)")
            }
            #expect(try await lab.root("find \(Lab.home) -user root ! -type l").output == "")

            // An instance that is a link to a directory of root's, and one that root owns in the account's directory.
            #expect(try await lab.root("mkdir /root/inside; install -d \(Lab.home)/roots").succeeded)
            try await lab.tester("ln -s /root/inside ~/.lima/linked")
            for name in ["linked", "roots"] {
                for command in ["stop", "stop --force", "delete --force", "start", "autostart disable"] {
                    _ = try await lab.root("timeout 60 env \(root) \(command) \(name)")
                    let inside = try await lab.root("ls -A /root/inside \(Lab.home)/roots 2> /dev/null").output
                    #expect(!inside.contains("lock"), "\(command) \(name): \(inside)")
                }
            }
            #expect(try await lab.root("ls -A /root/inside").output == "")
            try await lab.tester("rm -f ~/.lima/linked")
            #expect(try await lab.root("rm -rf \(Lab.home)/roots").succeeded)

            // This record names a process of root.
            let victim = try await lab.root(
                "setsid sleep 3600 > /dev/null 2>&1 < /dev/null & echo $! $(cut -d' ' -f22 /proc/$!/stat) "
                    + "$(cat /proc/sys/kernel/random/boot_id)")
            let parts = victim.output.split(separator: " ").map { String($0).trimmed }
            let record =
                "{\"driver\":\"qemu\",\"process\":{\"pid\":\(parts[0]),\"startTime\":\(parts[1]),"
                + "\"bootID\":\"\(parts[2])\"},\"accelerator\":\"tcg\",\"sshLocalPort\":1}"
            try await lab.write("\(Lab.home)/default/guest.json", record, owner: "tester")
            try await lab.write("\(Lab.home)/default/ha.pid", "\(parts[0])\n", owner: "tester")
            #expect(try await lab.root("\(root) stop --force default").succeeded)
            #expect(try await lab.root("kill -0 \(parts[0])").succeeded, "root's process lives")

            // A failed registration leaves the settings unchanged, and they still belong to the owner.
            try await lab.write("\(Lab.home)/default/hostagent.yaml", "keepAlive: no\n", owner: "tester")
            let failing = try await lab.root(
                "mkdir -p /tmp/f; printf '#!/bin/sh\\nexit 1\\n' > /tmp/f/systemctl; chmod 755 /tmp/f/systemctl; "
                    + "PATH=/tmp/f:$PATH \(enable)")
            #expect(!failing.succeeded, "\(failing)")
            let settings = "stat -c %U \(Lab.home)/default/hostagent.yaml; cat \(Lab.home)/default/hostagent.yaml"
            #expect(try await lab.root(settings).output == "tester\nkeepAlive: no\n")

            // What root does for an account, from start to end, and what it refuses to do there.
            let started = try await lab.root("\(root) start default")
            #expect(started.succeeded, "\(started)")
            #expect(try await lab.root("\(root) list --format '{{.Status}}'").output == "Running\n")
            #expect(try await lab.root("ps -o user= -C hostagent | sort -u").output == "tester\n")
            for refused in ["shell default", "start --foreground default", "edit default"] {
                let result = try await lab.root("\(root) \(refused)")
                #expect(result.status == 77 && result.error.contains("sudo -u tester"), "\(refused): \(result)")
            }
            #expect(try await lab.root("\(root) delete default").status == 75)
            #expect(try await lab.root("\(root) delete --force default").succeeded)
            #expect(try await lab.root("ls -A \(Lab.home)").output == "_config\n")
        }
    }

    /// An instance of the same name in another directory, or of another account, is another instance.
    @Test func aNameIsNotAnInstance() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default")
            let old = try await lab.user("tester", "\(Lab.hostagent) start-at-login default")
            #expect(old.succeeded && old.error.contains("autostart enable"), "\(old)")
            let warned = try await lab.user(
                "tester", "timeout -s INT 1 env \(Lab.hostagent) start --foreground default")
            #expect(warned.error.contains("is registered and does not know of this agent"), "\(warned)")
            // An agent started by cron, or in another service, counts as started by a person.
            let service = "systemd-run --user --wait --quiet --unit=another -p Environment=PATH=/usr/bin:/bin"
            let other = try await lab.user(
                "tester",
                "(\(service) env \(Lab.hostagent) start --foreground default &) ; "
                    + "n=0; until \(Lab.hostagent) info default 2> /dev/null | grep -q '\"state\" : \"Running\"' || [ $n -gt 200 ]; "
                    + "do sleep 0.1; n=$((n+1)); done; \(Lab.hostagent) info default")
            #expect(other.output.contains("another.service") && !other.output.contains("autoStarted"), "\(other)")
            try await lab.tester("hostagent stop default")
            try await lab.tester("hostagent start-at-login --enabled=false default")
            try await lab.tester("hostagent autostart enable --now default")
            let elsewhere = "LIMA_HOME=/tmp/elsewhere \(Lab.hostagent)"
            try await lab.tester("LIMA_HOME=/tmp/elsewhere hostagent create --name default mini")
            let stop = try await lab.user("tester", "\(elsewhere) stop default")
            #expect(stop.output == "default was not running\n", "\(stop)")
            let enable = try await lab.user("tester", "\(elsewhere) autostart enable default")
            #expect(enable.status == 73 && enable.error.contains("registers the instance"), "\(enable)")
            let disable = try await lab.user("tester", "\(elsewhere) autostart disable default")
            #expect(disable.error.contains("is for another instance of that name"), "\(disable)")
            let delete = try await lab.user("tester", "\(elsewhere) delete default")
            #expect(delete.succeeded, "\(delete)")
            #expect(try await lab.info("default")["state"] as? String == "Running")
            #expect(try await lab.tester("systemctl --user is-enabled lima-vm@default") == "enabled\n")
            try await lab.tester("hostagent stop default")

            // The manager of a session that has ended knows nothing, but the registration still exists.
            #expect(try await lab.root("loginctl disable-linger tester; systemctl stop user@$(id -u tester)").succeeded)
            let status = try await lab.user("tester", "\(Lab.hostagent) autostart status --format json")
            #expect(status.succeeded && status.output.contains(#""enabled":true"#), "\(status)")
        }
    }

    @Test func aBootUnitAndItsUnprivilegedOwner() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            try await lab.allowSudo()
            let enabled = try await lab.user(
                "tester", "\(Lab.hostagent) autostart enable default --condition=boot --now")
            #expect(enabled.succeeded && enabled.output.contains("get a shell with"), "\(enabled)")
            #expect(try await lab.sudoCalls() == 2)
            let first = try await lab.info("default")["run"] as? String

            // The command does not stop an instance that it could not start again.
            for command in ["restart default", "edit --restart default --set cpus=2"] {
                let refused = try await lab.user("tester", "\(Lab.hostagent) \(command)")
                #expect(
                    refused.status == 77 && refused.error.contains("sudo systemctl restart lima-vm@default"),
                    "\(refused)")
                #expect(try await lab.info("default")["run"] as? String == first)
            }
            let reloaded = try await lab.root("systemctl reload lima-vm@default; echo $?")
            #expect(reloaded.output == "0\n", "\(reloaded)")
            #expect(try await lab.lastEvents("default").last?.kind == "reloaded")

            // A change to a setting in the manager's own file is pending until that file is written again.
            try await lab.write("\(Lab.home)/default/hostagent.yaml", "stopGrace: 45s\nafter: [db]\n", owner: "tester")
            let pending = try await lab.tester("hostagent reload default")
            #expect(pending.hasSuffix("pending until hostagent autostart enable default: after\n"), "\(pending)")
            try await lab.tester("hostagent autostart enable default")
            let left = try await lab.tester("hostagent reload default")
            #expect(left == "pending until hostagent restart default: cpus\n")

            // The failed state of a unit is removed together with its file.
            try await lab.tester("hostagent stop default; mv ~/.lima/default/disk ~/away")
            #expect(try await lab.root("systemctl start lima-vm@default").status != 0)
            #expect(try await lab.root("systemctl is-system-running").output == "degraded\n")
            try await lab.tester("hostagent autostart disable default")
            #expect(try await lab.root("systemctl is-system-running").output == "running\n")
            #expect(try await lab.sudoCalls() == 5)
        }
    }

    @Test func aForcedStopOfAHungAgentIsTheManagersToo() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default")
            try await lab.tester("hostagent autostart enable --now default")
            #expect(try await lab.root("pkill -STOP -x hostagent").succeeded)
            try await lab.tester("hostagent stop --force default")
            let state = try await lab.user(
                "tester", Lab.show(["ActiveState", "NRestarts"], "lima-vm@default.service", "systemctl --user"))
            #expect(state.output == "inactive 0\n", "\(state)")
            #expect(try await lab.root("pgrep -a 'qemu-system|hostagent'").output == "")
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
    /// Lets `tester` use sudo without a password, and logs each call.
    func allowSudo() async throws {
        let sudoers = "Defaults logfile=/var/log/sudo-calls\\ntester ALL=(root) NOPASSWD: ALL\\n"
        let result = try await root(
            "printf '\(sudoers)' > /etc/sudoers.d/tester; chmod 440 /etc/sudoers.d/tester; : > /var/log/sudo-calls")
        #expect(result.succeeded, "\(result)")
    }

    /// The number of sudo calls since the last call of this function.
    func sudoCalls() async throws -> Int {
        let count = try await root("grep -c COMMAND= /var/log/sudo-calls; : > /var/log/sudo-calls")
        return Int(count.output.trimmed) ?? 0
    }

    /// Makes a directory with a `sudo` that refuses one call and lets the others through. Returns its path.
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
