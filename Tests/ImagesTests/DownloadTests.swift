import Crypto
import Foundation
import HostModel
import HostOS
import HostTestSupport
import Images
import LimaConfiguration
import NIOHTTP1
import Synchronization
import Testing

/// Downloads from a real server on the loopback interface.
@Suite struct DownloadTests {
    /// Bytes that differ from each other, so that a wrong place is seen.
    static func content(_ size: Int, seed: UInt64 = 1) -> [UInt8] {
        var state = seed
        return (0..<size).map { _ in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 33)
        }
    }

    static func digest(_ body: [UInt8]) -> Configuration.Digest {
        .init(algorithm: .sha256, hex: Hexadecimal.text(SHA256.hash(data: Data(body))))
    }

    static var impatient: HTTPTransport.Limits {
        var limits = HTTPTransport.Limits()
        (limits.connect, limits.silence, limits.redirects, limits.attempts) = (2, 4, 5, 3)
        limits.firstPause = 0.01
        limits.waitsForReaders = 2
        return limits
    }

    static func cache(_ directory: String, _ environment: [String: String] = [:]) -> ImageCache {
        ImageCache(
            directory: directory,
            transport: HTTPTransport(environment: environment, userAgent: "test", limits: impatient))
    }

    /// Collects what a download reports.
    final class Reports: Sendable {
        private let all = Mutex<[TransferProgress]>([])
        var list: [TransferProgress] { all.withLock { $0 } }
        @Sendable func take(_ progress: TransferProgress) { all.withLock { $0.append(progress) } }
    }

    static func provide(
        _ cache: ImageCache, _ address: String, _ digest: Configuration.Digest? = nil, limit: Int? = nil,
        _ reports: Reports = Reports()
    ) async throws -> ProvidedFile {
        try await cache.provide(
            .init(location: .address(address), digest: digest), what: "image", limit: limit, report: reports.take)
    }

    /// - Returns: the error of a download that must fail.
    static func failure(_ body: () async throws -> ProvidedFile) async -> HostError? {
        await #expect(throws: HostError.self) { _ = try await body() }
    }

    @Test func encryptedAndInLimasLayout() async throws {
        let scratch = try Scratch()
        let certificates = try await TestCertificates(in: scratch.path)
        let body = Self.content(300_000)
        let server = try await WebServer(tls: certificates.server) { request, _ in
            .file(body, for: request, modified: "Wed, 01 Jul 2026 00:00:00 GMT")
        }
        let cache = Self.cache(scratch.path + "/c", ["SSL_CERT_FILE": certificates.authority])
        let address = server.address("/a/disk.img?x=1")
        let reports = Reports()
        let file = try await Self.provide(cache, address, Self.digest(body), reports)
        let key = Hexadecimal.text(SHA256.hash(data: Data(address.utf8)))
        let entry = "\(scratch.path)/c/download/by-url-sha256/\(key)"
        #expect(file.path == entry + "/data" && file.digest == Self.digest(body))
        #expect(try TextFile.bytes(file.path) == body)
        #expect(try Files.names(in: entry) == ["data", "sha256.digest", "time", "type", "url"])
        #expect(try TextFile.read(entry + "/url") == address)
        #expect(try TextFile.read(entry + "/sha256.digest") == "sha256:" + Self.digest(body).hex)
        #expect(try TextFile.read(entry + "/time") == "Wed, 01 Jul 2026 00:00:00 GMT")
        #expect(reports.list.last?.state == .complete && reports.list.last?.received == body.count)

        // With its digest it is known to be the right one, so the server is not asked again.
        _ = try await Self.provide(cache, address, Self.digest(body))
        #expect(server.requests.count == 1)
        #expect(server.requests.first?.headers.first(name: "User-Agent") == "test")

        let error = await Self.failure { try await Self.provide(Self.cache(scratch.path + "/d"), address) }
        #expect(error?.message.contains("certificate of 127.0.0.1 is not trusted") == true)
        #expect(error?.hint?.contains("SSL_CERT_FILE") == true && error?.code == .unavailable)
        await server.close()
    }

    @Test func anEntryOfLimaIsUsed() async throws {
        let scratch = try Scratch()
        let body = Self.content(1000)
        let address = "http://127.0.0.1:1/unreachable.img"
        let entry = CacheEntry(cache: scratch.path, address: address)
        try Files.makeDirectory(entry.directory)
        try TextFile.replace(entry.data, with: body)
        try TextFile.replace(entry.url, with: address)
        var file: ProvidedFile? = try await Self.provide(Self.cache(scratch.path), address, Self.digest(body))
        #expect(file?.path == entry.data)
        // Its digest is kept, so that it need not be computed again.
        #expect(entry.recordedDigest(.sha256) == Self.digest(body))
        #expect(Self.cache(scratch.path).present(.init(location: .address(address), digest: Self.digest(body))) != nil)

        // While somebody reads it, it is not replaced, and nobody waits for ever.
        let held = await Self.failure {
            try await Self.provide(Self.cache(scratch.path), address, Self.digest([1]))
        }
        #expect(held?.code == .held && held?.message.contains("in use with another digest") == true)
        file = nil
        // Another digest means another file, which has to be downloaded.
        let error = await Self.failure {
            try await Self.provide(Self.cache(scratch.path), address, Self.digest([1]))
        }
        #expect(
            error?.message == "cannot download \(address): cannot connect to 127.0.0.1:1: Connection refused",
            "\(String(describing: error))")
        #expect(try TextFile.bytes(entry.data) == body)
        // Without a digest, what is there is used if the server does not answer.
        let reports = Reports()
        _ = try await Self.provide(Self.cache(scratch.path), address, nil, reports)
        guard case .unconfirmed? = reports.list.last?.state else {
            Issue.record("\(reports.list)")
            return
        }
    }

    @Test func aWrongDigestLeavesNothing() async throws {
        let scratch = try Scratch()
        let server = try await WebServer { request, _ in .file([1, 2, 3], for: request) }
        let error = await Self.failure {
            try await Self.provide(Self.cache(scratch.path), server.address("/x"), Self.digest([4]))
        }
        #expect(error?.code == .badConfiguration)
        #expect(error?.message.contains(Self.digest([1, 2, 3]).hex) == true)
        #expect(error?.message.contains(Self.digest([4]).hex) == true)
        let entry = CacheEntry(cache: scratch.path, address: server.address("/x"))
        #expect(try Files.names(in: entry.directory) == [])
        await server.close()
    }

    @Test(arguments: [WebServer.Answer.Interruption.close, .silence])
    func aBrokenTransferGoesOnWhereItEnded(_ interruption: WebServer.Answer.Interruption) async throws {
        let scratch = try Scratch()
        let body = Self.content(500_000)
        let server = try await WebServer { request, count in
            var answer = WebServer.Answer.file(body, for: request)
            if count < 2 { answer.interruption = (150_000, interruption) }
            return answer
        }
        let reports = Reports()
        let file = try await Self.provide(
            Self.cache(scratch.path), server.address("/x"), Self.digest(body), reports)
        #expect(try TextFile.bytes(file.path) == body)
        #expect(server.requests[1].headers.first(name: "If-Range") == "\"1\"")
        let kept = reports.list.filter { if case .interrupted = $0.state { true } else { false } }.map(\.received)
        #expect(server.requests.map { $0.headers.first(name: "Range") } == [nil] + kept.map { "bytes=\($0)-" })
        // What had arrived when the connection was closed may be lost within the client.
        #expect(interruption == .silence ? kept == [150_000, 300_000] : kept[0] > 0 && kept[0] < kept[1])
        await server.close()
    }

    /// The disk of the cache fills up. What has arrived is removed, because it is what fills the disk.
    @Test(.enabled(if: HostProcess.uid == 0)) func aFullDiskInTheMiddle() async throws {
        let scratch = try Scratch()
        let disk = try await SmallDisk(at: scratch.path + "/disk", size: "1m")
        let body = Self.content(3_000_000)
        let server = try await WebServer { request, _ in .file(body, for: request) }
        let address = server.address("/x")
        let error = await Self.failure { try await Self.provide(Self.cache(disk.path), address, Self.digest(body)) }
        #expect(error?.code == .cannotCreate && error?.message.contains("No space left") == true, "\(error as Any)")
        #expect(server.requests.count == 1, "another attempt would find no room either")
        let entry = CacheEntry(cache: disk.path, address: address)
        #expect(try Files.names(in: entry.directory) == [])
        try await disk.resize(to: "8m")
        let file = try await Self.provide(Self.cache(disk.path), address, Self.digest(body))
        #expect(try TextFile.bytes(file.path) == body)
        await server.close()
    }

    /// A server that ignores `Range`, one that has no validators, and one whose file changes meanwhile.
    @Test(arguments: ["ignores", "no validator", "changed", "refuses", "ignores If-Range", "another size"])
    func aTransferThatCannotGoOnBeginsAnew(_ kind: String) async throws {
        let scratch = try Scratch()
        let (first, body) = (Self.content(200_000, seed: 2), Self.content(200_000))
        let server = try await WebServer { request, count in
            switch (kind, count) {
            case (_, 0):
                var answer = WebServer.Answer.file(
                    kind == "changed" ? first : body, for: request, etag: kind == "no validator" ? nil : "\"1\"")
                answer.interruption = (70_000, .close)
                return answer
            case ("ignores", _): return WebServer.Answer(headers: [("ETag", "\"1\"")], body: body)
            case ("changed", _): return .file(body, for: request, etag: "\"2\"")
            case ("ignores If-Range", 1), ("another size", 1):
                // The rest of another file, which the client must not append.
                var answer = WebServer.Answer(.partialContent, body: Array(first[70_000...]))
                let total = kind == "another size" ? 300_000 : 200_000
                answer.headers = [
                    ("Content-Range", "bytes 70000-199999/\(total)"),
                    ("ETag", kind == "another size" ? "\"1\"" : "\"2\""),
                ]
                return answer
            case ("refuses", 1): return WebServer.Answer(.rangeNotSatisfiable)
            default: return .file(body, for: request)
            }
        }
        let file = try await Self.provide(Self.cache(scratch.path), server.address("/x"), Self.digest(body))
        #expect(try TextFile.bytes(file.path) == body)
        await server.close()
    }

    @Test func aKilledDownloadGoesOnInTheNextProcess() async throws {
        let scratch = try Scratch()
        let body = Self.content(400_000)
        let server = try await WebServer { request, count in
            var answer = WebServer.Answer.file(body, for: request)
            if count == 0 { answer.interruption = (100_000, .silence) }
            return answer
        }
        let cache = Self.cache(scratch.path)
        let entry = CacheEntry(cache: scratch.path, address: server.address("/x"))
        let task = Task { try await Self.provide(cache, server.address("/x"), Self.digest(body)) }
        while Files.size(entry.part) != 100_000 { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        await #expect(throws: CancellationError.self) { _ = try await task.value }
        #expect(!entry.isComplete && Files.size(entry.part) == 100_000)

        let file = try await Self.provide(Self.cache(scratch.path), server.address("/x"), Self.digest(body))
        #expect(try TextFile.bytes(file.path) == body)
        #expect(server.requests.last?.headers.first(name: "Range") == "bytes=100000-")
        await server.close()
    }

    @Test func ofManyOneDownloads() async throws {
        let scratch = try Scratch()
        let body = Self.content(300_000)
        let server = try await WebServer { request, count in
            var answer = WebServer.Answer.file(body, for: request)
            if count == 0 { answer.interruption = (100_000, .silence) }
            return answer
        }
        let (reports, directory) = (Reports(), scratch.path)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<6 {
                group.addTask {
                    // Each has a cache of its own, as each process has.
                    let file = try await Self.provide(
                        Self.cache(directory), server.address("/x"), Self.digest(body), reports)
                    #expect(try TextFile.bytes(file.path) == body)
                }
            }
            try await group.waitForAll()
        }
        #expect(server.requests.count == 2)
        #expect(reports.list.contains { $0.state == .followed && $0.received == 100_000 && $0.total == body.count })
        await server.close()
    }

    @Test func withoutADigestTheServerIsAsked() async throws {
        let scratch = try Scratch()
        let day = Mutex(1)
        let server = try await WebServer { request, _ in
            let now = day.withLock { $0 }
            return .file([UInt8(now)], for: request, etag: nil, modified: "Wed, 0\(now) Jul 2026 00:00:00 GMT")
        }
        let cache = Self.cache(scratch.path)
        let entry = CacheEntry(cache: scratch.path, address: server.address("/x"))
        // A file that somebody reads is not asked for again. A process that another test starts at this moment inherits
        // the lock until it executes its program.
        func content() async throws -> [UInt8] {
            while entry.isComplete, try DirectoryLock.acquire(path: entry.directory) == nil {
                try await Task.sleep(for: .milliseconds(5))
            }
            let file = try await Self.provide(cache, server.address("/x"))
            return try TextFile.bytes(file.path)
        }
        let first = try await content()
        let second = try await content()
        #expect(first == [1] && second == [1])
        #expect(
            server.requests.last?.headers.first(name: "If-Modified-Since") == "Wed, 01 Jul 2026 00:00:00 GMT")
        day.withLock { $0 = 2 }
        let third = try await content()
        #expect(third == [2])
        // Other bytes than the known ones are refused, and do not replace the cached file.
        day.withLock { $0 = 3 }
        let error = await Self.failure { try await Self.provide(cache, server.address("/x"), Self.digest([1])) }
        #expect(error?.code == .badConfiguration)
        #expect(try TextFile.bytes(CacheEntry(cache: scratch.path, address: server.address("/x")).data) == [2])
        await server.close()
    }

    @Test func redirects() async throws {
        let scratch = try Scratch()
        let certificates = try await TestCertificates(in: scratch.path)
        let plain = try await WebServer { request, _ in .file([7], for: request) }
        let target = plain.address("/x")
        let server = try await WebServer(tls: certificates.server) { request, _ in
            let leads: [String: String] = [
                "/circle": "/circle", "/file": "file:///etc/passwd", "/plain": target, "/good": "sub/../other",
                "/ftp": "ftp://127.0.0.1/x",
            ]
            guard let next = leads[request.uri] else { return .file([8], for: request) }
            return WebServer.Answer(.found, headers: [("Location", next)])
        }
        let cache = Self.cache(scratch.path + "/c", ["SSL_CERT_FILE": certificates.authority])
        for (path, words) in [
            ("/circle", "redirects more than 5 times"), ("/file", "not a web address"),
            ("/ftp", "not a web address"), ("/plain", "not encrypted"),
        ] {
            let error = await Self.failure { try await Self.provide(cache, server.address(path)) }
            #expect(error?.message.contains(words) == true, "\(path): \(String(describing: error))")
        }
        #expect(plain.requests.isEmpty)
        let file = try await Self.provide(cache, server.address("/good"))
        #expect(try TextFile.bytes(file.path) == [8])
        #expect(server.requests.last?.uri == "/other")
        await server.close()
        await plain.close()
    }

    @Test func answersThatAreNoFile() async throws {
        let scratch = try Scratch()
        let server = try await WebServer { request, count in
            switch request.uri {
            case "/gone": WebServer.Answer(.notFound)
            case "/busy":
                count == 1
                    ? WebServer.Answer(.serviceUnavailable, headers: [("Retry-After", "0")])
                    : .file([9], for: request)
            case "/down": WebServer.Answer(.badGateway)
            default: .file(Self.content(10_000), for: request)
            }
        }
        let cache = Self.cache(scratch.path)
        let gone = await Self.failure { try await Self.provide(cache, server.address("/gone")) }
        #expect(gone?.message.contains("404 Not Found") == true && server.requests.count == 1)
        #expect(try await TextFile.bytes(Self.provide(cache, server.address("/busy")).path) == [9])
        let down = await Self.failure { try await Self.provide(cache, server.address("/down")) }
        #expect(down?.message.contains("502 Bad Gateway") == true && server.requests.count == 6)
        let large = await Self.failure { try await Self.provide(cache, server.address("/large"), limit: 5000) }
        #expect(large?.code == .badConfiguration && large?.message.contains("larger than") == true)
        let unknown = await Self.failure { try await Self.provide(cache, "http://nowhere.invalid/x") }
        #expect(unknown?.message.contains("nowhere.invalid") == true && unknown?.code == .unavailable)
        await server.close()
    }

    @Test func portsThatDoNotExist() async throws {
        for text in ["http://127.0.0.1:99999/x", "http://127.0.0.1:0/x", "http://127.0.0.1:65536/x"] {
            #expect(WebAddress(text) == nil)
        }
        let scratch = try Scratch()
        let server = try await WebServer { _, _ in
            WebServer.Answer(.found, headers: [("Location", "http://127.0.0.1:99999/x")])
        }
        let cache = Self.cache(scratch.path + "/c")
        let redirected = await Self.failure { try await Self.provide(cache, server.address("/x")) }
        #expect(redirected?.message.contains("99999/x\", which is not a web address") == true, "\(redirected as Any)")
        await server.close()
    }

    /// Whoever reads the message looks at the proxy then, and not at the server.
    @Test func aProxyThatCannotBeReachedIsNamed() async throws {
        let scratch = try Scratch()
        let port = try LoopbackPort.free()
        for (proxy, expected) in [
            ("http://127.0.0.1:\(port)", "the proxy 127.0.0.1:\(port)"), ("http://nowhere.invalid", "of the proxy"),
        ] {
            let cache = Self.cache(scratch.path + "/c", ["http_proxy": proxy])
            let failure = await Self.failure { try await Self.provide(cache, "http://images.test/x") }
            #expect(failure?.message.contains(expected) == true, "\(failure as Any)")
        }
    }

    @Test func throughAProxy() async throws {
        let scratch = try Scratch()
        let certificates = try await TestCertificates(in: scratch.path)
        let server = try await WebServer(tls: certificates.server) { request, _ in .file([5], for: request) }
        let proxy = try await WebProxy(leadsTo: server.port)
        let cache = Self.cache(
            scratch.path + "/c",
            [
                "https_proxy": "http://ada:secret@127.0.0.1:\(proxy.port)",
                "SSL_CERT_FILE": certificates.authority,
            ])
        // Only the proxy knows this name.
        #expect(try await TextFile.bytes(Self.provide(cache, "https://images.test:444/x").path) == [5])
        let credentials = Data("ada:secret".utf8).base64EncodedString()
        #expect(proxy.heads.first?.hasPrefix("CONNECT images.test:444 HTTP/1.1") == true)
        #expect(
            proxy.heads.first?.lowercased().contains("proxy-authorization: basic \(credentials.lowercased())") == true)
        await proxy.close()
        await server.close()
    }
}
