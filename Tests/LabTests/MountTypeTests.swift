import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Directories by virtiofs, with a real virtiofsd that an account without privileges confines, in the sandbox of a unit.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct MountTypeTests {
    /// Makes entries with the bit of set-user-ID in the ways that no shell has. Prints what succeeded.
    private static let maker = """
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/stat.h>
        #include <unistd.h>
        int main(int count, char **words) {
            if (count > 2 && (setgid(999) || setuid(999))) return 1;
            if (chdir(words[1])) return 1;
            if (open("made-by-open", O_CREAT | O_EXCL | O_WRONLY, 04755) >= 0) puts("open");
            if (mknod("made-by-mknod", S_IFREG | 04755, 0) == 0) puts("mknod");
            if (mknod("device", S_IFCHR | 0666, 0x103) == 0) puts("device");
            int file = open("plain", O_CREAT | O_WRONLY, 0755);
            if (file < 0) puts("no file");
            if (fchmod(file, 04755) == 0) puts("fchmod");
            if (chmod("plain", 02755) == 0) puts("chmod");
            if (mknod("socket", S_IFSOCK | 0600, 0)) puts("no socket");
            return 0;
        }
        """

    @Test func directoriesInTheMemoryOfTheMachine() async throws {
        let maker = try await GuestProgram.compiled(Self.maker)
        try await Lab.with(.debian13) { lab in
            try await lab.prepare(instance: "default", linger: false)
            try await lab.write("/home/tester/maker.base64", maker, owner: "tester")
            try await lab.tester(
                """
                cd; mkdir read write; echo word > read/word; head -c 3000000 /dev/urandom > write/big
                base64 -d maker.base64 > read/maker; chmod 755 read/maker
                cat >> .lima/default/lima.yaml << 'END'
                mountType: virtiofs
                mounts:
                - {location: "~/read", mountPoint: /mnt/read}
                - {location: "~/write", mountPoint: /mnt/write, writable: true, virtiofs: {queueSize: 256}}
                END
                """)
            let enabled = try await lab.root(
                "LIMA_HOME=\(Lab.home) \(Lab.hostagent) autostart enable default --condition=boot --user tester")
            #expect(enabled.succeeded, "\(enabled)")
            #expect(try await lab.root("systemctl start lima-vm@default").succeeded)
            let events = try await lab.lastEvents("default")
            #expect(events.filter { $0.kind == "warning" }.compactMap(\.message) == [])
            #expect(try await lab.mountTypes() == "read virtiofs\nwrite virtiofs\n")
            #expect(try await lab.guest("cat /mnt/read/word; echo back > /mnt/write/back") == "word\n")
            #expect(try await lab.root("cd /home/tester/write; cat back; stat -c %U back").output == "back\ntester\n")

            // The guest's root can do no more than the account lets it.
            let readOnly = try await lab.guest(
                "mount -o remount,rw /mnt/read; echo x 2>&1 > /mnt/read/word; rm /mnt/read/word")
            #expect(readOnly.contains("Read-only"), "\(readOnly)")
            #expect(try await lab.root("cat /home/tester/read/word").output == "word\n")
            #expect(try await lab.guest("/mnt/read/maker /mnt/write") == "")
            #expect(try await lab.root("find /home/tester/write -perm /6000 -o -type c").output == "")
            // Other accounts of the guest may write where the modes allow it. What they make belongs to the host's account.
            #expect(try await lab.guest("mkdir -m 777 /mnt/write/open; /mnt/read/maker /mnt/write/open 999") == "")
            #expect(
                try await lab.root("cd /home/tester/write/open; stat -c '%n %U %G' *").output
                    == "plain tester tester\nsocket tester tester\n")
            try await lab.tester("mkdir ~/secret; touch ~/secret/inner")
            let linked = try await lab.guest(
                "ln -s /home/tester/secret /mnt/write/link; ls /mnt/write/link/ /mnt/write/..")
            #expect(linked.contains("No such file") && !linked.contains("inner"), "\(linked)")

            let snapshot = try await lab.user("tester", "\(Lab.hostagent) snapshot create default --tag a")
            #expect(snapshot.status == 69 && snapshot.error.contains("mountType: reverse-sshfs"), "\(snapshot)")

            // Its servers outlive the agent.
            let servers = try await lab.root("pgrep -x virtiofsd").output
            #expect(servers.split(separator: "\n").count == 2)
            #expect(try await lab.killAgent(of: "lima-vm@default"))
            #expect(try await lab.guest("cat /mnt/read/word") == "word\n")
            #expect(try await lab.root("pgrep -x virtiofsd").output == servers)

            // They serve a guest that boots again.
            try await lab.guest("(sleep 0.5; reboot) > /dev/null 2>&1 &")
            let hasRebooted = try await eventually(within: 120) {
                let kinds = try await lab.lastEvents("default").map(\.kind)
                guard let reboot = kinds.firstIndex(of: "guest-rebooted") else { return false }
                return kinds[reboot...].contains("guest-ready")
            }
            #expect(hasRebooted)
            let areThere = try await eventually(within: 60) {
                try await lab.user("tester", "\(Lab.hostagent) shell default cat /mnt/read/word /mnt/write/back").output
                    == "word\nback\n"
            }
            #expect(areThere)
            let typesOfNow = try await lab.mountTypes()
            let story = try await lab.lastEvents("default").suffix(12).map { "\($0.kind) \($0.message ?? "")" }
            #expect(typesOfNow == "read virtiofs\nwrite virtiofs\n", "\(story)")
            #expect(try await lab.root("pgrep -x virtiofsd").output == servers)

            // One that is killed cannot be replaced. The directory is there another way, and the guest has to be restarted.
            #expect(try await lab.root("kill -KILL $(pgrep -x virtiofsd -n)").succeeded)
            let isThereAgain = try await eventually(within: 60) {
                try await lab.mountTypes().contains("fuse.sshfs")
            }
            #expect(isThereAgain)
            let types = try await lab.mountTypes().split(separator: "\n").compactMap { $0.split(separator: " ").last }
            #expect(types.sorted() == ["fuse.sshfs", "virtiofs"])
            #expect(try await lab.guest("cat /mnt/read/word /mnt/write/back") == "word\nback\n")
            let state = try await lab.info("default")
            #expect(state["state"] as? String == "Degraded")
            #expect("\(state["errors"] ?? "")".contains("restart the guest"), "\(state)")
            let later = try await lab.user("tester", "\(Lab.hostagent) snapshot create default --tag a")
            #expect(later.status == 69, "\(later)")
            #expect(try await lab.root("LIMA_HOME=\(Lab.home) \(Lab.hostagent) stop --force default").succeeded)
            #expect(try await lab.root("pgrep -a 'virtiofsd|sftp-server|bwrap|qemu'").output == "")
            #expect(try await lab.root("ls \(Lab.home)/default | grep -E '^[vm][0-9]|mounts.json'").output == "")
            // A new machine has new servers.
            #expect(try await lab.root("systemctl start lima-vm@default").succeeded)
            #expect(try await lab.mountTypes() == "read virtiofs\nwrite virtiofs\n")
            #expect(try await lab.info("default")["state"] as? String == "Running")
            #expect(try await lab.root("systemctl stop lima-vm@default").succeeded)
            #expect(try await lab.root("pgrep -a 'virtiofsd|sftp-server|bwrap|qemu'").output == "")
        }
    }

    /// The virtiofsd of QEMU before 8.0 is not used: it works for root only.
    @Test func aHostWithoutAUsableServer() async throws {
        try await Lab.with { lab in
            try await lab.prepare(instance: "default", linger: false)
            try await lab.tester(
                """
                cd; mkdir write; cat >> .lima/default/lima.yaml << 'END'
                mountType: virtiofs
                mounts:
                - {location: "~/write", mountPoint: /mnt/write, writable: true}
                END
                hostagent start default
                """)
            let warnings = try await lab.lastEvents("default").filter { $0.kind == "warning" }.compactMap(\.message)
            #expect(warnings.count == 1 && warnings.first?.contains("install virtiofsd 1.13") == true, "\(warnings)")
            #expect(try await lab.mountTypes() == "write fuse.sshfs\n")
            try await lab.tester("hostagent snapshot create default --tag a")
            try await lab.tester("hostagent stop default")
        }
    }
}

extension Lab {
    /// Runs a script as root in the guest.
    @discardableResult
    fileprivate func guest(_ script: String) async throws -> String {
        try await write("/tmp/script", script)
        let result = try await user("tester", "\(Self.hostagent) shell default sudo sh < /tmp/script 2>&1")
        return result.output
    }

    /// The names of the mounts in the guest, with their types.
    fileprivate func mountTypes() async throws -> String {
        try await guest("sed -n 's|^hostagent:[^ ]* /mnt/\\([^ ]*\\) \\([^ ]*\\) .*|\\1 \\2|p' /proc/mounts | sort")
    }
}
