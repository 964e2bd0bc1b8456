import HostModel
import HostOS
import LimaConfiguration

/// Texts that a person gives to a command.
enum InputText {
    private static let limit = 16 << 20

    /// - Parameter kind: what the text is, in messages.
    /// - Throws: `HostError` if it is too long or not UTF-8.
    static func standardInput(_ kind: String) throws(HostError) -> ConfigurationText {
        guard let bytes = StandardStreams.input(limit: limit) else {
            throw HostError(.badConfiguration, "standard input is longer than any \(kind)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw HostError(.badConfiguration, "standard input is not UTF-8 text")
        }
        return ConfigurationText(text, file: "standard input")
    }

    /// Reads a file that a person named. It may be a pipe of the shell, as in `create <(…)`.
    /// - Parameters:
    ///   - name: the path as the person wrote it.
    ///   - kind: what the text is, in messages.
    ///   - missing: the error if there is no such file.
    static func file(
        _ path: String, as name: String, _ kind: String, missing: HostError
    ) throws(HostError) -> ConfigurationText {
        let bytes: [UInt8]
        do {
            bytes = try TextFile.bytes(path, limit: limit, anyKind: true)
        } catch {
            if error.isMissing { throw missing }
            if error.code == SystemCallError.tooBig {
                throw HostError(.badConfiguration, "\(name) is longer than any \(kind)")
            }
            throw HostError(.notPermitted, "cannot read \(name): \(error.reason)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw HostError(
                .badConfiguration, "\(name) is not UTF-8 text",
                hint: "iconv -f LATIN1 -t UTF-8 converts a file in the encoding Latin-1")
        }
        return ConfigurationText(text, file: name)
    }
}
