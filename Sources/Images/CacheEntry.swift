import Crypto
import Foundation
import HostModel
import HostOS
import LimaConfiguration

/// One file of the download cache. The layout is Lima's, so that each program uses what the other has downloaded:
/// `download/by-url-sha256/SHA256-OF-URL/` with `data`, `url`, `time` (the header Last-Modified), `type` (Content-Type) and
/// `sha256.digest` or `sha512.digest`. The two names that begin with `hostagent.` are ours.
package struct CacheEntry: Sendable {
    package let directory: String

    /// - Parameter cache: Lima's cache directory.
    package init(cache: String, address: String) {
        let key = Hexadecimal.text(SHA256.hash(data: Data(address.utf8)))
        directory = "\(Self.entries(of: cache))/\(key)"
    }

    init(directory: String) { self.directory = directory }

    /// The directory that holds all entries.
    static func entries(of cache: String) -> String { cache + "/download/by-url-sha256" }

    /// Whether this is the name of an entry.
    static func isName(_ name: String) -> Bool {
        name.utf8.count == 64 && name.utf8.allSatisfy { 48...57 ~= $0 || 97...102 ~= $0 }
    }

    package var data: String { directory + "/data" }
    package var url: String { directory + "/url" }
    private var time: String { directory + "/time" }
    private var type: String { directory + "/type" }
    /// The beginning of a file whose download is not finished.
    package var part: String { directory + "/hostagent.part" }
    private var partRecord: String { directory + "/hostagent.part.json" }
    private func digestFile(_ algorithm: Configuration.Digest.Algorithm) -> String {
        "\(directory)/\(algorithm.rawValue).digest"
    }

    package var isComplete: Bool { Files.kind(data) == .regular }

    /// The digest that was found when the file was downloaded; nil if that algorithm was not used.
    package func recordedDigest(_ algorithm: Configuration.Digest.Algorithm) -> Configuration.Digest? {
        (try? TextFile.read(digestFile(algorithm), limit: 4096)).flatMap { Configuration.Digest($0.trimmed) }
            .flatMap { $0.algorithm == algorithm ? $0 : nil }
    }

    /// The digest of the cached file; nil if there is none, or another one is expected. It is computed if it is not on
    /// record, because Lima downloaded the file without a digest or with one of the other algorithm.
    func usableDigest(_ expected: Configuration.Digest?) throws(SystemCallError) -> Configuration.Digest? {
        guard isComplete else { return nil }
        let algorithm = expected?.algorithm ?? .sha256
        let found: Configuration.Digest
        if let recorded = recordedDigest(algorithm) {
            found = recorded
        } else {
            found = try StreamDigest.ofFile(data, algorithm)
            // Only to save time. Some may read the cache and not write to it, as services do.
            if expected == nil || found == expected { try? record(found) }
        }
        return expected == nil || found == expected ? found : nil
    }

    func record(_ digest: Configuration.Digest) throws(SystemCallError) {
        try TextFile.replace(digestFile(digest.algorithm), with: digest.description, mode: 0o644)
    }

    /// The server's time of the cached file, as its header said it.
    var lastModified: String? {
        (try? TextFile.read(time, limit: 4096))?.trimmed.nonEmpty
    }

    /// What is known about the beginning of a file. It tells whether a server still has the same file.
    struct Part: Codable, Sendable, Equatable {
        var etag: String?
        var lastModified: String?
        var type: String?
        var total: Int?

        /// The value of `If-Range` (RFC 9110, 13.1.5): a strong entity tag or a date.
        var validator: String? {
            if let etag, !etag.hasPrefix("W/") { return etag }
            return lastModified
        }
    }

    var partialDownload: Part? {
        guard Files.kind(part) == .regular, let bytes = try? TextFile.bytes(partRecord, limit: 1 << 16) else {
            return nil
        }
        return try? JSONDecoder().decode(Part.self, from: Data(bytes))
    }

    func record(_ part: Part) throws(SystemCallError) {
        // Strings and numbers can always be encoded.
        try TextFile.replace(partRecord, with: [UInt8]((try? JSONEncoder().encode(part)) ?? Data()))
    }

    func removePart() {
        try? Files.remove(part)
        try? Files.remove(partRecord)
    }

    /// Makes the finished download the content of this entry. Whatever is known of an earlier content goes first, so
    /// that a power loss never leaves a digest beside other bytes.
    func finish(_ part: Part, digest: Configuration.Digest, address: String) throws(SystemCallError) {
        for algorithm in Configuration.Digest.Algorithm.allCases { try Files.remove(digestFile(algorithm)) }
        try Files.remove(directory + "/imgconv")
        try TextFile.replace(url, with: address, mode: 0o644)
        try TextFile.replace(time, with: part.lastModified ?? "", mode: 0o644)
        try TextFile.replace(type, with: part.type ?? "", mode: 0o644)
        try Files.moveSynced(self.part, to: data)
        try record(digest)
        try Files.remove(partRecord)
    }
}

extension String {
    fileprivate var nonEmpty: String? { isEmpty ? nil : self }
}
