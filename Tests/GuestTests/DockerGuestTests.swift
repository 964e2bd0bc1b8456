import AgentAPI
import HostModel
import HostOS
import HostTestSupport
import NIOHTTP1
import Testing

/// The template `docker` as it is shipped. Its image comes from a web server with TLS, and its packages from the
/// distribution.
@Suite(.enabled(if: Checkout.canBootDebian), .largeGuestSlot)
struct DockerGuestTests {
    private static let files = ["disk.qcow2", "kernel", "initrd"]

    /// The template of the image, in the place of the one that is shipped.
    private func imageTemplate(_ server: (String) -> String) async throws -> String {
        var digests: [String: String] = [:]
        for file in Self.files {
            let sum = try await Tool("sha256sum", [directory + "/" + file]).run().output.prefix(64)
            digests[file] = "sha256:\(sum)"
        }
        return """
            arch: \(Architecture.host.rawValue)
            cpus: 2
            memory: 1GiB
            disk: 8GiB
            images:
            - location: "\(server("/disk.qcow2"))"
              digest: "\(digests["disk.qcow2"] ?? "")"
              kernel:
                location: "\(server("/kernel"))"
                digest: "\(digests["kernel"] ?? "")"
                cmdline: "console=ttyS0 root=LABEL=root ro quiet no_timer_check"
              initrd:
                location: "\(server("/initrd"))"
                digest: "\(digests["initrd"] ?? "")"
            copyToHost:
            - {guest: /etc/debian_version, host: "{{.Dir}}/version", deleteOnStop: true}
            - {guest: /nowhere, host: "{{.Dir}}/nowhere", skipIfMissing: true}

            """
    }

    private var directory: String { Checkout.dataDirectory + "/hostagent/debian" }

    @Test func dockerIsInstalledAndRunsAContainer() async throws {
        let home = try TestHome()
        let work = try Scratch()
        let certificates = try await TestCertificates(in: work.path)
        var bodies: [String: [UInt8]] = [:]
        for file in Self.files {
            bodies["/" + file] = try TextFile.bytes(directory + "/" + file, limit: 1 << 30)
        }
        let server = try await WebServer(tls: certificates.server) { [bodies] request, _ in
            bodies[request.uri].map { .file($0, for: request) } ?? WebServer.Answer(.notFound)
        }
        try Files.makeDirectory(home.path + "/_templates/_images")
        try TextFile.replace(
            home.path + "/_templates/_images/debian.yaml", with: try await imageTemplate { server.address($0) })
        let environment: [String: String?] = [
            "SSL_CERT_FILE": certificates.authority, "XDG_CACHE_HOME": work.path + "/cache",
        ]
        // One processor costs an emulated guest the least. The packages take many minutes beside other tests' guests.
        let started = try await home.run(
            "start", "--name", "vm", "--cpus", "1", "--timeout", "28m", "template:docker", environment: environment)
        await server.close()
        #expect(
            started.succeeded && started.output.contains("docker run"),
            "\(started) \(TextFile.tail(home.directory("vm") + "/serial.log", count: 3000))")
        let info = try await AgentClient(socket: home.directory("vm") + "/ha.sock").info()
        #expect(info.state == .running, "\(info.errors)")
        #expect(try TextFile.read(home.directory("vm") + "/version").first?.isNumber == true)
        #expect(Files.kind(home.directory("vm") + "/nowhere") == nil)

        // An image with one static program, so that no registry is needed.
        try await home.succeeds("copy", "/bin/busybox", "vm:/tmp/busybox")
        let script = """
            tar -C /tmp -c busybox | docker import - own > /dev/null
            docker run --rm --network none own /busybox echo inside
            """
        let ran = try await home.run("shell", "vm", "sh", "-c", script)
        #expect(ran.output == "inside\n", "\(ran)")
        try await home.succeeds("stop", "vm")
        #expect(try home.events("vm").last { $0.kind == "guest-ended" }?.step == .ask)
        #expect(Files.kind(home.directory("vm") + "/version") == nil, "deleteOnStop")
    }
}
