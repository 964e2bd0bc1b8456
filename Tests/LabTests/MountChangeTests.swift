import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// What an account changes in its directory reaches programs of its guest that wait for changes.
@Suite(.serialized, .enabled(if: Checkout.canBootLabs), .guestSlot)
struct MountChangeTests {
    /// Prints the name of each entry of a directory that inotify(7) reports with IN_ATTRIB. busybox has no program for it.
    private static let watcher = """
        #include <stdio.h>
        #include <sys/inotify.h>
        #include <unistd.h>
        int main(int count, char **words) {
            char events[4096];
            int watch = inotify_init();
            if (inotify_add_watch(watch, words[1], IN_ATTRIB) < 0) return 1;
            for (;;) {
                long length = read(watch, events, sizeof events);
                if (length <= 0) return 1;
                for (char *at = events; at < events + length;) {
                    struct inotify_event *event = (struct inotify_event *)at;
                    printf("%s\\n", event->len ? event->name : ".");
                    at += sizeof *event + event->len;
                }
                fflush(stdout);
            }
        }
        """

    @Test func changesOnTheHostWakeProgramsOfTheGuest() async throws {
        let watcher = try await GuestProgram.compiled(Self.watcher)
        try await Lab.with { lab in
            try await lab.prepare(instance: "default")
            try await lab.write("/home/tester/watcher.base64", watcher, owner: "tester")
            try await lab.tester(
                """
                cd; mkdir -p shared/deep; echo 1 > shared/old; base64 -d watcher.base64 > shared/watcher; chmod 755 shared/watcher
                cat >> .lima/default/lima.yaml << 'END'
                mountInotify: true
                mounts:
                - {location: "~/shared", mountPoint: /mnt/shared, writable: true}
                END
                hostagent start default
                hostagent shell default sh -c 'cp /mnt/shared/watcher /tmp; ls /mnt/shared > /dev/null
                for d in . deep; do setsid /tmp/watcher /mnt/shared/$d > /tmp/seen.${d#.} 2>&1 < /dev/null & done'
                """)
            // Exact times are those of the host: nothing but the owner is set, to what it is.
            let before = "cd ~/shared; stat -c '%n %a %Y %y' old new deep/new 2> /dev/null"
            let stat = try await lab.tester(
                "cd ~/shared; echo 2 >> old; echo 1 > new; echo 1 > deep/new; chmod 640 new; \(before)")
            #expect(try await lab.guestHasSeen("", "old"))
            #expect(try await lab.guestHasSeen("", "new"))
            #expect(try await lab.guestHasSeen("deep", "new"))
            #expect(try await lab.tester(before) == stat)
            // What is made after the guest has looked into the directory is there at once, in spite of what sshfs remembers.
            #expect(
                try await lab.tester("hostagent shell default cat /mnt/shared/new /mnt/shared/deep/new") == "1\n1\n")

            // An agent that follows another goes on with it.
            #expect(try await lab.root("pkill -KILL -x hostagent").succeeded)
            try await lab.tester("hostagent start default; echo 1 > ~/shared/later")
            #expect(try await lab.guestHasSeen("", "later"))
            try await lab.tester("rm ~/shared/later")
            #expect(try await lab.guestHasSeen("", "."))
            try await lab.tester("hostagent stop default")
        }
    }
}

extension Lab {
    /// Whether the watcher of the guest that writes to this file has printed a name.
    fileprivate func guestHasSeen(_ file: String, _ name: String) async throws -> Bool {
        try await eventually(within: 20) {
            let seen = try await tester("hostagent shell default cat /tmp/seen.\(file)")
            return seen.split(separator: "\n").contains { $0 == name }
        }
    }
}
