import HostModel

/// Chooses the variables of this host that `shell --preserve-env` gives to the guest, by Lima's lists: those that
/// `LIMA_SHELLENV_ALLOW` names; without it, all but those that `LIMA_SHELLENV_BLOCK` names. A `+` before the latter adds
/// it to the standard list.
package struct ShellEnvironment {
    /// Names, or patterns in which `*` stands for any text. These variables belong to the host's session. The list is
    /// Lima's.
    package static let blockedByDefault = [
        "BASH*", "DISPLAY", "DYLD_*", "EUID", "FPATH", "GID", "GROUP", "HOME", "HOSTNAME", "LD_*", "LOGNAME", "OLDPWD",
        "PATH", "PWD", "SHELL", "SHLVL", "SSH_*", "TERM", "TERMINFO", "TMPDIR", "UID", "USER", "XAUTHORITY", "XDG_*",
        "ZDOTDIR", "ZSH*", "_*",
    ]

    private let allowed: [String]
    private let blocked: [String]

    /// - Throws: `HostError` with `.usage` for a pattern that no name can have.
    package init(_ environment: [String: String]) throws(HostError) {
        allowed = try Self.patterns("LIMA_SHELLENV_ALLOW", environment["LIMA_SHELLENV_ALLOW"] ?? "")
        let block = environment["LIMA_SHELLENV_BLOCK"] ?? ""
        if block.isEmpty {
            blocked = Self.blockedByDefault
        } else if block.hasPrefix("+") {
            blocked =
                try Self.blockedByDefault + Self.patterns("LIMA_SHELLENV_BLOCK", String(block.dropFirst()))
        } else {
            blocked = try Self.patterns("LIMA_SHELLENV_BLOCK", block)
        }
    }

    private static func patterns(_ variable: String, _ text: String) throws(HostError) -> [String] {
        let patterns = text.split(separator: ",").map { String($0).trimmed }.filter { !$0.isEmpty }
        for pattern in patterns where !pattern.allSatisfy({ isOfName($0) || $0 == "*" }) {
            throw HostError(
                .usage, "\(variable): \(InstanceName.quoted(pattern)) is neither a variable's name nor a pattern",
                hint: "patterns have letters, digits, _ and * only")
        }
        return patterns
    }

    private static func isOfName(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber || character == "_")
    }

    /// The variables that the guest gets, by name.
    package func chosen(from environment: [String: String]) -> [(name: String, value: String)] {
        environment.filter { entry in
            // Functions that bash exports have other characters in their names.
            guard entry.key.allSatisfy(Self.isOfName) else { return false }
            return allowed.isEmpty
                ? !blocked.contains { Self.matches(entry.key, $0) } : allowed.contains { Self.matches(entry.key, $0) }
        }.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Whether the name is that of the pattern: its parts between the stars follow each other in the name.
    package static func matches(_ name: String, _ pattern: String) -> Bool {
        let parts = pattern.split(separator: "*", omittingEmptySubsequences: false)
        guard parts.count > 1, let first = parts.first, let last = parts.last else { return name == pattern }
        guard name.hasPrefix(first), name.hasSuffix(last), name.count >= first.count + last.count else { return false }
        var rest = name.dropFirst(first.count).dropLast(last.count)
        for part in parts.dropFirst().dropLast() where !part.isEmpty {
            guard let place = rest.firstRange(of: part) else { return false }
            rest = rest[place.upperBound...]
        }
        return true
    }
}
