import HostModel
import HostOS
import HostTestSupport
import InstanceStore
import NIOHTTP1
import Testing

/// Guests whose template, base and images come from a web server with TLS.
@Suite(.enabled(if: Checkout.canBootGuests), .guestSlot)
struct DownloadedGuestTests {
    private static let base = """
        arch: \(Architecture.host.rawValue)
        memory: 256MiB
        disk: 64MiB
        cpus: 1
        param: {greeting: hello}
        provision:
        - {mode: data, path: /data/greeting, content: "{{.Param.greeting}}"}

        """

    private func template(kernel: String, digest: String) throws -> String {
        // The command line of the template that belongs to this guest.
        let mini = try #require(InstanceTemplate.text("mini", environment: [:]))
        let line = try #require(mini.split(separator: "\n").first { $0.contains("cmdline:") })
        return """
            base: ./base.yaml
            vmOpts: {qemu: {cpuType: {x86_64: "qemu64,+rdrand"}}}
            images:
            - {location: "gone.qcow2"}
            - location: "IMAGES/disk.qcow2.zst"
              digest: "\(digest)"
              kernel:
                location: "IMAGES/kernel.zst"
            \(line)
              initrd:
                location: "IMAGES/initrd"

            """
    }

    @Test func startsFromAnAddressAndDownloadsOnce() async throws {
        let home = try TestHome()
        let work = try Scratch()
        let certificates = try await TestCertificates(in: work.path)
        let packed = work.path + "/disk.qcow2.zst"
        #expect(
            try await Tool("zstd", ["-q", Checkout.miniGuest + "/disk.qcow2", "-o", packed]).run().succeeded)
        let sum = try await Tool("sha256sum", [packed]).run().output.prefix(64)
        let files = [
            "/i/disk.qcow2.zst": try TextFile.bytes(packed),
            "/i/kernel.zst": try TextFile.bytes(Checkout.miniGuest + "/kernel.zst", limit: 64 << 20),
            "/i/initrd": try TextFile.bytes(Checkout.miniGuest + "/initrd", limit: 64 << 20),
            "/t/base.yaml": Array(Self.base.utf8),
        ]
        let text = try template(kernel: "", digest: "sha256:\(sum)")
        let server = try await WebServer(tls: certificates.server) { request, count in
            if request.uri == "/t/web.yaml" {
                let host = request.headers.first(name: "Host") ?? ""
                let whole = text.replacing("IMAGES", with: "https://\(host)/i")
                    .replacing("gone.qcow2", with: "https://\(host)/i/gone.qcow2")
                return .file(Array(whole.utf8), for: request)
            }
            guard let body = files[request.uri] else { return WebServer.Answer(.notFound) }
            var answer = WebServer.Answer.file(body, for: request)
            // The first transfer of the kernel breaks off in the middle.
            if request.uri == "/i/kernel.zst", request.headers.first(name: "Range") == nil {
                answer.interruption = (body.count / 2, .close)
            }
            return answer
        }
        let environment: [String: String?] = [
            "SSL_CERT_FILE": certificates.authority, "XDG_CACHE_HOME": work.path + "/cache",
        ]
        let started = try await home.run(
            "start", server.address("/t/web.yaml"), "--param", "greeting=hallo", environment: environment)
        #expect(started.succeeded, "\(started)")
        #expect(started.error.contains("downloading https://") && started.error.contains("trying again in 1 s"))
        #expect(try await home.run("shell", "web", "cat", "/data/greeting").output == "hallo")
        let yaml = try TextFile.read(home.directory("web") + "/lima.yaml")
        #expect(!yaml.contains("base:"), "the instance depends on no other file")
        let pinned = try TextFile.read(home.directory("web") + "/hostagent.yaml")
        #expect(pinned.contains("/i/initrd") && pinned.contains("sha256:\(sum)"))
        try await home.succeeds("stop", "web")

        // A second one needs the image no more, and asks whether the files without digests are still current.
        let before = server.requests.count
        let second = try await home.run(
            "create", "--name", "second", server.address("/t/web.yaml"), environment: environment)
        #expect(second.succeeded, "\(second)")
        #expect(!server.requests.dropFirst(before).contains { $0.uri == "/i/disk.qcow2.zst" })

        // Without the authority's certificate nothing is made.
        let distrusted = try await home.run(
            "create", "--name", "third", server.address("/t/web.yaml"),
            environment: ["XDG_CACHE_HOME": work.path + "/other"])
        #expect(distrusted.status == 69 && distrusted.error.contains("is not trusted"), "\(distrusted)")
        #expect(Files.kind(home.directory("third")) == nil)

        let plan = try await home.run(
            "create", "--dry-run", "--name", "third", server.address("/t/web.yaml"),
            environment: [
                "SSL_CERT_FILE": certificates.authority, "XDG_CACHE_HOME": work.path + "/other",
            ])
        #expect(plan.output.hasPrefix("third: download https://"), "\(plan)")
        let pruned = try await home.run("prune", "--keep-referred", environment: environment)
        #expect(pruned.output.contains("/t/base.yaml") && !pruned.output.contains("/i/disk"), "\(pruned)")
        #expect(try await home.run("prune", environment: environment).output.contains("/i/disk"))
        #expect(
            try await home.run("prune", environment: environment).output == "nothing was to be removed\n")
        await server.close()
    }
}
