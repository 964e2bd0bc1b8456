import HostModel

/// The keys of what happens inside the guest.
enum GuestKeys {
    static let plain = DefaultedKey("plain", .boolean, default: false, .guest, .start)
    static let message = DefaultedKey("message", .text, default: "", .agent, .live)

    static let env = Key("env", variables("variable", isName: isVariableName), .guest, .start)
    /// Lima's rule for names: a letter, then letters, digits and underscores.
    static let param = Key(
        "param", variables("parameter") { isVariableName($0) && $0.first != "_" }, .guest, .start)

    /// A mapping of names to one line of text each, in the order of the file.
    private static func variables(
        _ what: String, isName: @escaping @Sendable (String) -> Bool
    ) -> Form<[Configuration.Variable]> {
        Form("mapping of \(what) names to text", shape: .map) { value in
            value.entries().compactMap { name, value in
                guard let text = Form.line.read(value) else { return nil }
                guard isName(name) else {
                    value.fault("\(InstanceName.quoted(name)) is not a \(what)'s name")
                    return nil
                }
                return Configuration.Variable(name: name, value: text)
            }
        }
    }

    private static func isVariableName(_ name: String) -> Bool {
        !name.isEmpty && !(name.first?.isNumber ?? true)
            && name.utf8.allSatisfy { 65...90 ~= $0 || 97...122 ~= $0 || 48...57 ~= $0 || $0 == 95 }
    }

    // MARK: Scripts

    private static let script = Key("script", .guestTemplate)
    /// `create` puts the text of the file into `script`.
    private static let file = Key(
        "file",
        Form<Void>("locator") { value in
            value.fault("only a template can name a file: create puts its text into the instance's file")
        }, nil, .creation)

    private static let mode = Key(
        "mode",
        Form.text.map("system, user, boot, dependency, data, yq or ansible") {
            (text, value) -> Configuration.ProvisioningScript.Mode? in
            if let mode = Configuration.ProvisioningScript.Mode(rawValue: text) { return mode }
            if ["data", "yq", "ansible"].contains(text) {
                value.warn("hostagent does not support the mode \(text) yet, the entry is skipped")
            } else {
                value.expected("boot or dependency or system or user")
            }
            return nil
        }, nil, nil, .partial("`system`, `user`, `boot` and `dependency`"), standard: "`system`")

    private static let provisioningScript = Form<Configuration.ProvisioningScript>.record(
        [mode, script, file]
            + [
                "skipDefaultDependencyResolution", "playbook", "content", "overwrite", "owner", "path",
                "permissions", "expression", "format",
            ].map { Key($0, .unread("text"), nil, nil, .notYet) }, named: "scripts"
    ) { fields, value in
        let isGiven = fields.given(mode) != nil
        guard let mode = isGiven ? fields[mode] : .system, let text = scriptText(fields, value) else { return nil }
        return .init(mode: mode, script: text)
    }
    static let provision = Key("provision", list(of: provisioningScript), .guest, .start, merging: .basesFirst)

    private static let probeMode = Key(
        "mode",
        Form.text.map("readiness") { text, value in
            if text != "readiness" { value.fault("expected readiness, found \(InstanceName.quoted(text))") }
        }, standard: "`readiness`")
    private static let description = DefaultedKey("description", .line, default: "probe")
    private static let hint = DefaultedKey("hint", .text, default: "")
    private static let probe = Form<Configuration.Probe>.record(
        [probeMode, description, script, hint, file], named: "probes"
    ) { fields, value in
        guard let text = scriptText(fields, value) else { return nil }
        return .init(description: fields[description], script: text, hint: fields[hint].trimmed)
    }
    static let probes = Key("probes", list(of: probe), .guest, .start, merging: .basesFirst)

    private static func scriptText(_ fields: Fields, _ value: ConfigurationValue) -> String? {
        if fields.given(file) != nil { return nil }
        guard let text = fields[script], !text.isEmpty else {
            value.fault("script: missing; expected the text of a script that begins with #!")
            return nil
        }
        let lines = text.hasSuffix("\n") ? text : text + "\n"
        // A script without `#!` runs with sh, in every guest.
        return lines.hasPrefix("#!") ? lines : "#!/bin/sh\n" + lines
    }

    static let all: [any KeyDeclaration] = [
        provision,
        Key("upgradePackages", .unread("true or false"), .guest, .start, .notYet, standard: "`false`"),
        Key("containerd", .unread("mapping", .map), .guest, .start, .notYet),
        Key("guestInstallPrefix", .unread("path"), .guest, .start, .notYet),
        probes,
        Key("copyToHost", .unread("list of copies", .list([])), .agent, .start, .notYet),
        message, env, param,
        Key("propagateProxyEnv", .unread("true or false"), .guest, .start, .notYet, standard: "`true`"),
        Key("caCerts", .unread("mapping", .map), .guest, .start, .notYet),
        plain,
        Key("timezone", .unread("text"), .guest, .start, .notYet),
    ]
}
