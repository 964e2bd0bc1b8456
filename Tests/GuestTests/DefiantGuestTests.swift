import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// Guests and machines that do not do what they are asked. Each case has a deadline, an event and an end.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct DefiantGuestTests {
    private func start(_ home: borrowing TestHome, _ arguments: String...) async throws -> AgentInfo {
        try await home.succeeds("create", "mini")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "stopGrace: 4s\n")
        let started = try await home.run("start", "mini")
        #expect(started.succeeded, "\(started)")
        return try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
    }

    @Test func aKernelThatPanics() async throws {
        let home = try TestHome()
        let info = try await start(home)
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        _ = try await home.tool(["shell", "mini", "sudo", "sh", "-c", "(sleep 0.3; echo c > /proc/sysrq-trigger) &"])
            .run()
        let ended = await eventually(within: 60) { !agent.isAlive }
        #expect(ended)
        let events = try home.events("mini")
        #expect(events.contains { $0.kind == "failure" && $0.message == "the guest's kernel panicked" })
        #expect(events.last?.exitStatus == 1)
        let list = try await home.run("list", "--format", "{{.Status}}")
        #expect(list.output == "Failed\n")
    }

    @Test func aGuestThatIgnoresEveryRequest() async throws {
        let home = try TestHome()
        _ = try await start(home)
        let deaf = try await home.run(
            "shell", "mini", "sudo", "sh", "-c",
            "killall acpid; for p in /proc/[0-9]*; do grep -q chann[e]l.sh $p/cmdline && kill ${p#/proc/}; done; sleep 0.5; ps"
        )
        #expect(deaf.output.contains("init") && !deaf.output.contains("cidata/channel.sh"), "\(deaf)")
        let write = try await home.run("shell", "mini", "sh", "-c", "echo kept > /data/proof && sync")
        #expect(write.succeeded)
        async let stop = home.run("stop", "mini")
        let isAsked = try await eventually(within: 60) { try home.events("mini").contains { $0.step == .ask } }
        #expect(isAsked)
        // The end of the guest's SSH server is part of every stop. Nobody is warned of it, and nobody tries to log in again.
        _ = try await home.run("shell", "mini", "sudo", "killall", "-9", "dropbear")
        let stopped = try await stop
        #expect(stopped.succeeded, "\(stopped)")
        let events = try home.events("mini")
        #expect(events.compactMap { $0.step } == [.ask, .askAgain, .quit, .quit])
        #expect(!events.contains { $0.kind == "warning" }, "\(events.compactMap(\.message))")
        let seconds = events.last { $0.kind == "guest-ended" }?.seconds ?? 0
        #expect(4...14 ~= seconds, "\(seconds)")
        // The data that was synced is still there.
        try await home.succeeds("start", "mini")
        #expect(try await home.run("shell", "mini", "cat", "/data/proof").output == "kept\n")
        try await home.succeeds("stop", "--force", "mini")
    }

    @Test func anSSHServerThatSaysNothing() async throws {
        let home = try TestHome()
        try await home.succeeds("create", "mini")
        let yaml = home.directory("mini") + "/lima.yaml"
        try TextFile.replace(
            yaml,
            with: try TextFile.read(yaml) + "provision:\n- mode: system\n  script: killall -STOP dropbear\n")
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "stopGrace: 4s\n")
        let started = try await home.run("start", "--timeout", "60", "mini")
        #expect(started.status == 1 && started.error.contains("logging in to the guest took too long"), "\(started)")
        #expect(started.error.contains("the last login failed") || started.error.contains("serial.log"), "\(started)")
        let status = try await home.run("list", "--format", "{{.Status}}")
        #expect(status.output == "Failed\n", "\(status)")
    }

    /// Stands between the agent and a real QEMU. It passes the monitor on until it is told to send nonsense.
    private static let babblingQEMU = #"""
        #!/usr/bin/env python3
        import os, socket, sys, threading, time
        argv = ["qemu-system-x86_64"] + sys.argv[1:]
        if not any("qmp.sock" in a for a in argv): os.execv("/usr/bin/" + argv[0], argv)
        path = next(a for a in argv if "qmp.sock" in a).split("path=")[1].split(",")[0]
        real = path[:-9] + "real.sock"
        argv = [a.replace(path, real) for a in argv]
        child = os.fork()
        if child == 0: os.execv("/usr/bin/" + argv[0], argv)
        while not os.path.exists(real): time.sleep(0.01)
        monitor = socket.socket(socket.AF_UNIX)
        while monitor.connect_ex(real) != 0: time.sleep(0.01)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen()
        held = b""
        client = None
        def fromMonitor():
            global held
            while data := monitor.recv(65536):
                if os.path.exists(path + ".babble"): data = b"\x00\xff{]}\n" * 3
                if client is None: held += data
                else:
                    try: client.sendall(data)
                    except OSError: pass
        threading.Thread(target=fromMonitor, daemon=True).start()
        def watch():
            os.waitpid(child, 0)
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()
        while True:
            connection, _ = server.accept()
            client = connection
            try:
                client.sendall(held)
                held = b""
                while data := client.recv(65536): monitor.sendall(data)
            except OSError: pass
            client = None
        """#

    @Test func aMonitorThatTalksNonsense() async throws {
        let home = try TestHome()
        let bin = home.path + "/_bin"
        try Files.makeDirectory(bin)
        try TextFile.replace(bin + "/qemu-system-x86_64", with: Self.babblingQEMU, mode: 0o700)
        try await home.succeeds("create", "mini")
        let started = try await home.run(
            "start", "mini", environment: ["PATH": "\(bin):\(HostProcess.searchPath ?? "/usr/bin:/bin")"])
        #expect(started.succeeded, "\(started)")
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        let agent = try #require(ProcessIdentity.of(pid: info.agentPID))
        try TextFile.replace(home.directory("mini") + "/qmp.sock.babble", with: "")
        let degraded = try await eventually(within: 60) {
            try await home.run("list", "--format", "{{.Status}}").output == "Degraded\n"
        }
        #expect(degraded)
        let ended = await eventually(within: 120) { !agent.isAlive }
        #expect(ended)
        #expect(try home.events("mini").last?.exitStatus == 1)
        _ = try await Tool("pkill", ["-KILL", "-f", "^[^ ]*qemu-system.*\(home.path)/"]).run()
    }
}
