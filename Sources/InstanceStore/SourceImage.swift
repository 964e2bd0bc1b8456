import Crypto
import HostModel
import HostOS
import LimaConfiguration

/// Checks the files that a guest is made from, before anything is made.
enum SourceImage {
    /// The format of a disk image.
    enum Format: String {
        case qcow2, raw
    }

    /// - Throws: `HostError`: `.unavailable` if the file does not exist, `.badConfiguration` if its content does not
    ///   have the configured digest.
    static func verify(_ file: Configuration.SourceFile, what: String) throws(HostError) {
        guard Files.kind(file.path) == .regular else {
            throw HostError(
                .unavailable, "the \(what) \(file.path) does not exist",
                hint: hint(for: file.path) ?? "correct the location in lima.yaml, or put the file there")
        }
        guard let digest = file.digest else { return }
        let found = try hex(of: file.path, digest.algorithm)
        guard found == digest.hex else {
            throw HostError(
                .badConfiguration,
                "the \(what) \(file.path) has the \(digest.algorithm.rawValue) digest \(found), not \(digest.hex)",
                hint: "get the file again, or correct the digest in lima.yaml")
        }
    }

    private static func hint(for path: String) -> String? {
        if path.hasSuffix("/mini/disk.qcow2") { return "scripts/build-mini-guest builds it" }
        if path.hasSuffix("/debian/disk.qcow2") { return "scripts/build-debian-guest builds it" }
        return nil
    }

    private static func hex(
        of path: String, _ algorithm: Configuration.Digest.Algorithm
    ) throws(HostError) -> String {
        switch algorithm {
        case .sha256: try hex(of: path, SHA256())
        case .sha512: try hex(of: path, SHA512())
        }
    }

    private static func hex<Function: HashFunction>(
        of path: String, _ empty: Function
    ) throws(HostError) -> String {
        var function = empty
        do {
            let descriptor = try Descriptor(path: path, flags: 0)
            while true {
                let part = try descriptor.read(upTo: 1 << 20, subject: path)
                if part.isEmpty { break }
                function.update(data: part)
            }
        } catch {
            throw HostError(.notPermitted, "cannot read \(path): \(error.reason)")
        }
        return Hexadecimal.text(function.finalize())
    }

    /// The format of an image by its first bytes (the magic of the qcow2 specification). A guest could write these
    /// bytes into its raw disk, so this is only used for images that a person named.
    static func format(of path: String) throws(HostError) -> Format {
        do {
            let descriptor = try Descriptor(path: path, flags: 0)
            let magic = try descriptor.read(upTo: 4, subject: path)
            return magic == [0x51, 0x46, 0x49, 0xfb] ? .qcow2 : .raw
        } catch {
            throw HostError(.notPermitted, "cannot read \(path): \(error.reason)")
        }
    }
}
