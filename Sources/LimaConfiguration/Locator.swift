import HostModel

/// Where a template is: `template:NAME`, an address, a file, or standard input. The forms are Lima's.
package enum Locator: Sendable, Hashable, CustomStringConvertible {
    /// A template by name. The name may have directories: `_images/debian`.
    case template(String)
    /// An absolute path.
    case file(String)
    /// An `https://` or `http://` address.
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
        switch outer {
        case .standardInput: throw Self.wrong(text, "a template from standard input has no directory")
        case .template(let name): self = .template(Self.sibling(of: name, Self.withoutEnding(text)))
        case .file(let path): self = .file(Self.sibling(of: path, text))
        case .address(let address): self = .address(Self.sibling(of: address, text))
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
        if text.hasPrefix("https://") || text.hasPrefix("http://") { return .address(text) }
        if let path = text.suffix(after: "file://") {
            guard path.hasPrefix("/") else { throw wrong(text, "file:// needs an absolute path") }
            return .file(path)
        }
        return text.hasPrefix("/") ? .file(text) : nil
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
            hint: "expected template:NAME, a path, or an https:// address")
    }
}

extension String {
    fileprivate func suffix(after prefix: String) -> String? {
        hasPrefix(prefix) ? String(dropFirst(prefix.count)) : nil
    }
}
