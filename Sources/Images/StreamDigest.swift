import Crypto
import HostModel
import HostOS
import LimaConfiguration

/// Computes a digest while the bytes pass by.
struct StreamDigest: Sendable {
    // One of the two is there.
    private var sha256: SHA256?
    private var sha512: SHA512?

    init(_ algorithm: Configuration.Digest.Algorithm) {
        switch algorithm {
        case .sha256: sha256 = SHA256()
        case .sha512: sha512 = SHA512()
        }
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        sha256?.update(bufferPointer: bytes)
        sha512?.update(bufferPointer: bytes)
    }

    /// The digest of the bytes so far.
    var digest: Configuration.Digest {
        if let sha512 { return .init(algorithm: .sha512, hex: Hexadecimal.text(sha512.finalize())) }
        return .init(algorithm: .sha256, hex: Hexadecimal.text((sha256 ?? SHA256()).finalize()))
    }

    /// Adds the bytes of a file.
    /// - Returns: how many these were.
    mutating func addFile(_ path: String) throws(SystemCallError) -> Int {
        let descriptor = try Descriptor(path: path, flags: 0)
        var count = 0
        while true {
            let part = try descriptor.read(upTo: 1 << 20, subject: path)
            if part.isEmpty { return count }
            count += part.count
            part.withUnsafeBytes { update($0) }
        }
    }

    /// The digest of a whole file.
    static func ofFile(
        _ path: String, _ algorithm: Configuration.Digest.Algorithm
    ) throws(SystemCallError) -> Configuration.Digest {
        var digest = StreamDigest(algorithm)
        _ = try digest.addFile(path)
        return digest.digest
    }
}
