import HostModel

/// Where a template is: `template:NAME`, an address, a file, or standard input. The forms are Lima's.
package enum Locator: Sendable, Hashable, CustomStringConvertible {
    /// A template by name. The name may have directories: `_images/debian`.
    case template(String)
    /// An absolute path.
    case file(String)
    /// An `https://` or `http://` address. `github:` stands for one.
    case address(String)
    case standardInput

    package var description: String {
        switch self {
        case .template(let name): "template:\(name)"
        case .file(let path): path
        case .address(let address): address
        case .standardInput: "-"
        }
    }

    /// Reads a locator that is written inside the template `outer`. A relative one is taken from the place of that
    /// template.
    /// - Throws: `HostError` with `.badConfiguration` that says which locators are possible.
    package init(_ text: String, within outer: Locator) throws(HostError) {
        if let known = try Self.absolute(text) {
            self = known
            return
        }
        if let colon = text.firstIndex(of: ":"), !text[..<colon].contains("/") {
            throw Self.wrong(text, "the scheme \"\(text[..<colon])\" is not known")
        }
        guard !text.split(separator: "/", omittingEmptySubsequences: false).contains("..") else {
            throw Self.wrong(text, "\"..\" leads out of the template's directory")
        }
        // "./base.yaml" and "base.yaml" are one file, also for a loop of templates that is looked for.
        let name = text.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
        switch outer {
        case .standardInput: throw Self.wrong(text, "a template from standard input has no directory")
        case .template(let template): self = .template(Self.sibling(of: template, Self.withoutEnding(name)))
        case .file(let path): self = .file(Self.sibling(of: path, name))
        case .address(let address): self = .address(Self.sibling(of: address, name))
        }
    }

    /// The locator, if it does not depend on where it is written.
    private static func absolute(_ text: String) throws(HostError) -> Locator? {
        guard !text.isEmpty, text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 }) else {
            throw wrong(text, "it is empty or has control characters")
        }
        if text == "-" { return .standardInput }
        if let name = text.suffix(after: "template://") ?? text.suffix(after: "template:") {
            let parts = name.split(separator: "/", omittingEmptySubsequences: false)
            guard !name.isEmpty, !parts.contains(""), !parts.contains("..") else {
                throw wrong(text, "that is not the name of a template")
            }
            return .template(withoutEnding(name))
        }
        if let place = text.suffix(after: "github:") { return try github(place, text) }
        if text.hasPrefix("https://") || text.hasPrefix("http://") { return .address(text) }
        if let path = text.suffix(after: "file://") {
            guard path.hasPrefix("/") else { throw wrong(text, "file:// needs an absolute path") }
            return .file(path)
        }
        return text.hasPrefix("/") ? .file(text) : nil
    }

    /// `ORG[/REPO][/PATH][@REF]`, as in Lima. GitHub serves a file of a repository under this address; HEAD is the default
    /// branch.
    private static func github(_ place: String, _ text: String) throws(HostError) -> Locator {
        let words = place.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        let reference = words.count == 2 ? String(words[1]) : "HEAD"
        var parts = words[0].split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        // "ORG//PATH" is in the repository that has the organization's name.
        if parts.count == 1 || (parts.count > 2 && parts[1].isEmpty) {
            parts.replaceSubrange(1..<min(2, parts.count), with: [parts[0]])
        }
        var path = parts.dropFirst(2).joined(separator: "/")
        if path.isEmpty || path.hasSuffix("/") {
            path += ".lima.yaml"
        } else if !(parts.last ?? "").dropFirst().contains(".") {
            path += ".yaml"
        }
        let all =
            [parts[0], parts[1], reference]
            + path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let isPlain = all.joined().unicodeScalars.allSatisfy { scalar in
            scalar.isASCII
                && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil
                    || "-._~/+".unicodeScalars.contains(scalar))
        }
        guard isPlain, !all.contains(""), !all.contains(".."), !all.contains("."),
            !reference.split(separator: "/").contains("..")
        else {
            throw wrong(text, "expected github:ORG/REPO/PATH@REF, with letters, digits and -._")
        }
        return .address("\(gitHubFiles)\(parts[0])/\(parts[1])/\(reference)/\(path)")
    }

    private static let gitHubFiles = "https://raw.githubusercontent.com/"

    /// Where the default template of a repository of GitHub leads to, if it is a symbolic link. GitHub serves a link as a
    /// file with one line and no line end, the path relative to the link. As in Lima, only `.lima.yaml` is looked at.
    /// - Parameter path: the text that this locator's address gave.
    /// - Returns: nil if the text is not that of a link.
    /// - Throws: `HostError` with `.badConfiguration` for a link that leads out of its repository.
    package func target(ofLink path: String) throws(HostError) -> Locator? {
        guard case .address(let address) = self, let place = address.suffix(after: Self.gitHubFiles) else { return nil }
        var parts = place.split(separator: "/").map(String.init)
        // The first three parts are the organization, the repository and the branch. A template has at least one key, and
        // so a colon.
        guard parts.count > 3, parts.removeLast() == ".lima.yaml", !path.isEmpty, path.utf8.count < 4096,
            !path.contains(where: { $0.isWhitespace || ":{}#".contains($0) })
        else { return nil }
        for part in path.split(separator: "/", omittingEmptySubsequences: false) {
            switch part {
            case ".": continue
            case "..": if parts.popLast() == nil || parts.count < 3 { parts = [] }
            case "": parts = []
            default: parts.append(String(part))
            }
            guard parts.count >= 3 else {
                throw Self.wrong(
                    address, "it is a link to \(InstanceName.quoted(path)), which is not in its repository")
            }
        }
        return .address(Self.gitHubFiles + parts.joined(separator: "/"))
    }

    private static func withoutEnding(_ name: String) -> String {
        name.hasSuffix(".yaml") ? String(name.dropLast(".yaml".count)) : name
    }

    private static func sibling(of path: String, _ name: String) -> String {
        path.lastIndex(of: "/").map { path[...$0] + name } ?? name
    }

    private static func wrong(_ text: String, _ reason: String) -> HostError {
        HostError(
            .badConfiguration, "\(InstanceName.quoted(text)) is not a template: \(reason)",
            hint: "expected template:NAME, github:ORG/REPO/PATH, a path, or an https:// address")
    }
}

extension String {
    fileprivate func suffix(after prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
