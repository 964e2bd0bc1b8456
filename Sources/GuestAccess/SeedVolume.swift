import Crypto
import Foundation
import HostModel
import HostOS

/// Writes a guest's seed as an ISO 9660 volume with the label `cidata`.
package enum SeedVolume {
    /// Programs that create such a volume. The first three accept the options of mkisofs; hdiutil is part of macOS.
    private static let programs = ["genisoimage", "mkisofs", "xorrisofs", "hdiutil"]

    /// The arguments that make a volume of a directory.
    /// - Parameter digest: is stored as the volume's application identifier, except by hdiutil.
    static func arguments(of program: String, digest: String, from directory: String, to file: String) -> [String] {
        program.hasSuffix("hdiutil")
            // hdiutil(1), makehybrid. Without -ov it refuses a name that is taken.
            ? ["makehybrid", "-quiet", "-iso", "-joliet", "-default-volume-name", "cidata", "-o", file, directory]
            : ["-quiet", "-r", "-V", "cidata", "-A", digest, "-o", file, directory]
    }

    /// Brings a volume up to date. A volume that already holds these files is left alone; it is recognised by its
    /// digest.
    /// - Parameter searchPath: `PATH`.
    /// - Throws: `HostError`.
    package static func write(_ files: [String: String], to path: String, searchPath: String?) async throws {
        let digest = digest(of: files)
        if applicationIdentifier(of: path) == digest { return }
        guard let program = programs.lazy.compactMap({ Tool.path(of: $0, in: searchPath) }).first else {
            throw HostError(
                .unavailable, "no program to make ISO volumes: none of \(programs.joined(separator: ", ")) is in PATH",
                hint: HostPackages.install("genisoimage", homebrew: "cdrtools"))
        }
        let staging = TemporaryName.path(beside: path)
        // hdiutil appends .iso to a name without it.
        let temporary = TemporaryName.path(beside: path) + (program.hasSuffix("hdiutil") ? ".iso" : "")
        defer {
            for leftover in [staging, temporary] { try? Files.remove(leftover) }
        }
        do {
            for (name, text) in files {
                let file = "\(staging)/\(name)"
                if let slash = file.lastIndex(of: "/") { try Files.makeDirectory(String(file[..<slash])) }
                // Guests may execute scripts from the volume.
                try TextFile.replace(file, with: text, mode: name.hasSuffix(".sh") ? 0o755 : 0o644)
            }
            let result = try await Tool(
                program, arguments(of: program, digest: digest, from: staging, to: temporary)
            ).run()
            guard result.succeeded else {
                throw HostError(.cannotCreate, "cannot make \(path): \(program) said: \(result.complaint)")
            }
            try Files.moveSynced(temporary, to: path)
        } catch let error as SystemCallError {
            throw HostError(
                .cannotCreate, "cannot make \(path): \(error.reason)",
                hint: error.isFull ? "make room on the disk" : nil)
        }
    }

    /// SHA-256 of the names and contents, as 64 hexadecimal digits.
    package static func digest(of files: [String: String]) -> String {
        var function = SHA256()
        for (name, text) in files.sorted(by: { $0.key < $1.key }) {
            function.update(data: Data("\(name.utf8.count) \(name) \(text.utf8.count) ".utf8))
            function.update(data: Data(text.utf8))
        }
        return Hexadecimal.text(function.finalize())
    }

    /// The application identifier of a volume; nil when there is no volume. It has 128 bytes at offset 574 of the
    /// primary volume descriptor, which is sector 16 (ECMA-119, 8.4).
    package static func applicationIdentifier(of path: String) -> String? {
        guard let descriptor = try? Descriptor(path: path, flags: 0),
            let bytes = try? descriptor.read(upTo: 16 * 2048 + 574 + 128, subject: path),
            bytes.count == 16 * 2048 + 574 + 128
        else { return nil }
        return String(decoding: bytes.suffix(128), as: UTF8.self).trimmed
    }
}
