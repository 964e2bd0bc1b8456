import AsyncHTTPClient
import HostModel
import HostOS
import LimaConfiguration
import NIOCore
import NIOHTTP1

/// Downloads one file into its entry of the cache. A transfer that breaks off goes on where it ended, in this process or
/// in a later one, if the server can tell that it still has the same file.
struct Transfer {
    let address: WebAddress
    let entry: CacheEntry
    let transport: HTTPTransport
    /// Other content is not kept.
    let expected: Configuration.Digest?
    /// Bytes that the file may have; nil if any number is welcome.
    let limit: Int?
    let report: TransferProgress.Report

    /// The server could not be reached, or has a fault of its own. It did not say that the file is gone.
    struct Unreachable: Error {
        let error: HostError
    }

    /// How one request ended.
    private enum Ending: Sendable {
        case complete(CacheEntry.Part, Configuration.Digest)
        case unchanged
    }

    /// - Parameter unlessModifiedSince: the time of a cached file, which is kept if the server has no newer one.
    /// - Returns: the digest of the file, also if it is not the expected one; nil if the cached one is still current.
    /// - Throws: `HostError`, `Unreachable`, `CancellationError`.
    func run(unlessModifiedSince: String? = nil) async throws -> Configuration.Digest? {
        var fruitless = 0
        while true {
            let before = Files.size(entry.part) ?? 0
            do {
                switch try await attempt(unlessModifiedSince) {
                case .unchanged: return nil
                case .complete(let part, let digest):
                    guard expected == nil || digest == expected else {
                        entry.removePart()
                        return digest
                    }
                    try entry.finish(part, digest: digest, address: address.text)
                    report(progress(part.total ?? 0, part.total, .complete))
                    return digest
                }
            } catch TransferFault.passing(let reason, let asked) {
                let after = Files.size(entry.part) ?? 0
                fruitless = after > before ? 1 : fruitless + 1
                guard fruitless < transport.limits.attempts else {
                    throw Unreachable(
                        error: HostError(
                            .unavailable, "cannot download \(address): \(reason)",
                            hint: after > 0
                                ? "\(ByteCount.format(after)) are kept; the next attempt goes on from there"
                                : "check the address and the network"))
                }
                let pause =
                    asked.map(Double.init) ?? transport.limits.firstPause * Double(1 << min(fruitless - 1, 6))
                report(
                    progress(
                        after, entry.partialDownload?.total,
                        .interrupted(reason: reason, pause: Int(pause.rounded(.up)))))
                try await Task.sleep(for: .seconds(pause))
            } catch TransferFault.final(let error) {
                throw error
            } catch TransferFault.disk(let error) {
                throw failure(error)
            } catch let error as SystemCallError {
                throw failure(error)
            }
        }
    }

    private func progress(_ received: Int, _ total: Int?, _ state: TransferProgress.State) -> TransferProgress {
        TransferProgress(address: address.description, received: received, total: total, state: state)
    }

    private func failure(_ error: SystemCallError) -> HostError {
        if error.isFull {
            // The partial file is what fills the disk.
            entry.removePart()
            return HostError(
                .cannotCreate, "cannot keep \(address) in \(entry.directory): \(error.reason)",
                hint: "make room on that disk (hostagent prune removes what is not needed), or set XDG_CACHE_HOME")
        }
        return HostError(
            .cannotCreate, "cannot keep \(address) in \(entry.directory): \(error.reason)",
            hint: "set XDG_CACHE_HOME to a directory you may write")
    }

    // MARK: One request

    private func attempt(_ unlessModifiedSince: String?) async throws -> Ending {
        let known = entry.partialDownload
        var offset = 0
        var headers = HTTPHeaders()
        if let known, let validator = known.validator, let size = Files.size(entry.part), size > 0 {
            offset = size
            headers.add(name: "Range", value: "bytes=\(size)-")
            headers.add(name: "If-Range", value: validator)
        } else {
            entry.removePart()
            if let unlessModifiedSince { headers.add(name: "If-Modified-Since", value: unlessModifiedSince) }
        }
        let (start, wanted) = (offset, unlessModifiedSince)
        return try await transport.get(address, headers: headers) { answer in
            switch answer.status.code {
            case 304 where start == 0: return .unchanged
            case 206 where start > 0 && known.map { Self.continues(answer, $0, at: start) } ?? false:
                return try await receive(answer, from: start, known ?? CacheEntry.Part())
            case 200:
                if start == 0, let wanted, answer.headers.first(name: "Last-Modified") == wanted { return .unchanged }
                return try await receive(answer, from: 0, known: answer)
            case 206, 416:
                // The server has another file now, or sends another part than the one that was asked for.
                entry.removePart()
                throw TransferFault.passing("the server cannot continue the transfer; it begins anew", pause: 0)
            case 408, 425, 429, 500...599:
                throw TransferFault.passing(Self.words(answer.status), pause: answer.retryAfter)
            default:
                throw HostError(
                    .unavailable, "cannot download \(answer.address): \(Self.words(answer.status))",
                    hint: answer.status.code == 404 ? "correct the address" : nil)
            }
        }
    }

    private static func words(_ status: HTTPResponseStatus) -> String {
        "the server answers \(status.code) \(status.reasonPhrase)"
    }

    /// Whether an answer holds the rest of the file that is known in part. Servers that ignore `If-Range` exist, so what
    /// they say about the file is compared: its validators, and its size in `Content-Range: bytes 100-199/200`.
    private static func continues(_ answer: HTTPTransport.Answer, _ part: CacheEntry.Part, at start: Int) -> Bool {
        guard let range = answer.headers.first(name: "Content-Range"), range.hasPrefix("bytes "),
            Int(range.dropFirst(6).prefix { $0.isNumber }) == start
        else { return false }
        let total = range.split(separator: "/").last.flatMap { Int($0) }
        if let total, let known = part.total, total != known { return false }
        for (now, before) in [
            (answer.headers.first(name: "ETag"), part.etag),
            (answer.headers.first(name: "Last-Modified"), part.lastModified),
        ] {
            if let now, let before, now != before { return false }
        }
        return true
    }

    private func receive(
        _ answer: HTTPTransport.Answer, from start: Int, known: HTTPTransport.Answer
    ) async throws -> Ending {
        try await receive(
            answer, from: start,
            CacheEntry.Part(
                etag: known.headers.first(name: "ETag"), lastModified: known.headers.first(name: "Last-Modified"),
                type: known.headers.first(name: "Content-Type"), total: known.length))
    }

    private func receive(
        _ answer: HTTPTransport.Answer, from start: Int, _ part: CacheEntry.Part
    ) async throws -> Ending {
        try checkSize(part.total ?? 0)
        let file = try PartFile(entry.part, continuing: start > 0)
        if start == 0 { try entry.record(part) }
        var digest = StreamDigest(expected?.algorithm ?? .sha256)
        var received = start > 0 ? try digest.addFile(entry.part) : 0
        guard received == start else {
            entry.removePart()
            throw TransferFault.passing("the part that was kept has changed", pause: 0)
        }
        var nextReport = ContinuousClock.now
        for try await buffer in answer.body {
            try buffer.withUnsafeReadableBytes { bytes in
                try file.write(bytes)
                digest.update(bytes)
            }
            received += buffer.readableBytes
            try checkSize(received)
            if ContinuousClock.now >= nextReport {
                report(progress(received, part.total, .receiving))
                nextReport = .now + .milliseconds(100)
            }
        }
        if let total = part.total, received != total {
            throw TransferFault.passing("the server sent \(received) bytes of \(total)")
        }
        var whole = part
        whole.total = received
        return .complete(whole, digest.digest)
    }

    private func checkSize(_ size: Int) throws(HostError) {
        guard let limit, size > limit else { return }
        entry.removePart()
        throw HostError(
            .badConfiguration, "\(address) is larger than \(ByteCount.format(limit))",
            hint: "is that the right address?")
    }
}

/// The file that receives a download.
private struct PartFile: ~Copyable, Sendable {
    private let descriptor: Descriptor
    private let path: String

    init(_ path: String, continuing: Bool) throws(SystemCallError) {
        self.path = path
        if !continuing { try Files.remove(path) }
        descriptor = try Descriptor(path: path, flags: Descriptor.appending)
    }

    borrowing func write(_ bytes: UnsafeRawBufferPointer) throws(SystemCallError) {
        try descriptor.write(bytes, subject: path)
    }
}
