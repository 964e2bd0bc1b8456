import AgentAPI
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Testing

/// A host whose acceleration looks good but fails. QEMU is the real one, except for a machine that wants KVM.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct AcceleratorTests {
    /// Stands in for QEMU. Its probe succeeds after `PROBE_SECONDS`, but its machine under KVM stops with an internal
    /// error.
    private static let lyingQEMU = #"""
        #!/usr/bin/env python3
        import json, os, socket, sys, time
        argv = sys.argv[1:]
        if "isa-debug-exit" in " ".join(argv):
            time.sleep(float(os.environ["PROBE_SECONDS"]))
            sys.exit(33)
        if "accel=kvm" not in " ".join(argv):
            os.execv("/usr/bin/qemu-system-x86_64", ["qemu-system-x86_64"] + argv)
        def listener(name):
            path = next(a for a in argv if name in a).split("path=")[1].split(",")[0]
            server = socket.socket(socket.AF_UNIX)
            server.bind(path)
            server.listen()
            return server
        channel = listener("chan.sock")
        monitor = listener("qmp.sock")
        def serve(client):
            def say(**message): client.sendall((json.dumps(message) + "\r\n").encode())
            say(QMP={})
            for line in client.makefile():
                command = json.loads(line)
                status = {"status": "internal-error"} if command["execute"] == "query-status" else {}
                say(**{"return": status, "id": command["id"]})
                if command["execute"] == "qmp_capabilities": say(event="STOP")
                if command["execute"] == "quit": sys.exit(0)
        while True:
            # A client that only asks who listens goes away at once.
            try: serve(monitor.accept()[0])
            except OSError: pass
        """#

    private func variables(_ home: borrowing TestHome, probeSeconds: Int) throws -> [String: String?] {
        let bin = home.path + "/_bin"
        try Files.makeDirectory(bin)
        try TextFile.replace(bin + "/qemu-system-x86_64", with: Self.lyingQEMU, mode: 0o700)
        return [
            "PATH": "\(bin):\(HostProcess.searchPath ?? "/usr/bin:/bin")", "XDG_CACHE_HOME": home.path + "/_cache",
            "PROBE_SECONDS": "\(probeSeconds)",
        ]
    }

    @Test func aGuestThatKVMFailsIsBootedAgainByEmulation() async throws {
        let home = try TestHome()
        let variables = try variables(home, probeSeconds: 0)
        try await home.succeeds("create", "mini")
        let started = try await home.run("start", "mini", environment: variables)
        #expect(started.succeeded, "\(started)")
        let spawned = try home.events("mini").filter { $0.kind == "guest-spawned" }.map { $0.accelerator }
        // On a host without /dev/kvm there is nothing that could fail.
        #expect(spawned == (HostProcess.hardwareAccelerator == nil ? [.tcg] : [.kvm, .tcg]))
        let info = try await AgentClient(socket: home.directory("mini") + "/ha.sock").info()
        #expect(info.accelerator == .tcg && info.state == .running)
        try await home.succeeds("shell", "mini", "true")
        try await home.succeeds("stop", "mini")

        // The verdict was withdrawn, so the next start does not try KVM again.
        try await home.succeeds("start", "mini", environment: variables)
        #expect(try home.events("mini").filter { $0.kind == "guest-spawned" }.map { $0.accelerator } == [.tcg])
        try await home.succeeds("stop", "mini")

        // A person who asks for KVM gets it, and the error says why it does not work.
        try TextFile.replace(home.directory("mini") + "/hostagent.yaml", with: "accelerator: kvm\n")
        let wanted = try await home.run("start", "mini", environment: variables)
        #expect(wanted.status == 1 && wanted.error.contains("internal error of kvm"), "\(wanted)")
    }

    /// The sandbox of a unit allows writing only where its instances are.
    @Test func aVerdictIsKeptWhereItCanBe() async throws {
        let home = try TestHome()
        var variables = try variables(home, probeSeconds: 0)
        variables["XDG_CACHE_HOME"] = "/proc/none"
        try await home.succeeds("create", "mini")
        try await home.succeeds("start", "mini", environment: variables)
        try await home.succeeds("stop", "mini")
        let verdicts = try Files.names(in: home.path + "/_config").filter { $0.hasPrefix("accelerator-") }
        #expect(verdicts.count == (HostProcess.hardwareAccelerator == nil ? 0 : 1))
    }

    @Test func aProbeThatWasCutOffIsNoVerdict() async throws {
        let home = try TestHome()
        let variables = try variables(home, probeSeconds: 60)
        try await home.succeeds("create", "mini")
        async let starting = home.tool(["start", "mini"], environment: variables).run()
        let asked = await eventually(within: 20) { Files.kind(home.directory("mini") + "/ha.sock") == .socket }
        #expect(asked)
        let stopped = try await home.run("stop", "mini")
        #expect(stopped.succeeded, "\(stopped)")
        #expect(try await starting.status == 3)
        let cache = home.path + "/_cache/hostagent"
        let names = Files.kind(cache) == nil ? [] : try Files.names(in: cache)
        #expect(names == [], "no verdict, and no image of the probe")
    }
}
