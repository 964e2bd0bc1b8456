import HostModel

/// The keys of what is run and written in the guest at every boot, and of the probes.
enum ProvisioningKeys {
    private static let script = Key("script", .guestTemplate)
    /// `create` puts the text of the file into `script`.
    private static let file = Key(
        "file",
        Form<Void>("locator") { value in
            value.fault("only a template can name a file: create puts its text into the instance's file")
        }, nil, .creation)

    /// One entry of `provision`.
    enum Entry: Sendable {
        case script(Configuration.ProvisioningScript)
        case dataFile(Configuration.DataFile)
        case documentEdit(Configuration.DocumentEdit)
    }

    private enum Mode: String, CaseIterable, Sendable {
        case system, user, boot, dependency, data, yq, ansible
    }

    private static let mode = Key("mode", Form<Mode>.word, standard: "`system`")
    private static let content = Key("content", .guestTemplate)
    private static let overwrite = DefaultedKey("overwrite", .boolean, default: true)
    private static let owner = DefaultedKey(
        "owner",
        Form.guestTemplate.map("user or user:group, template") { text, value -> String? in
            let isName = text.utf8.allSatisfy {
                48...57 ~= $0 || 65...90 ~= $0 || 97...122 ~= $0 || "_.-:".utf8.contains($0)
            }
            guard isName, !text.isEmpty, text.first != "-" else {
                value.expected("a user, or a user and a group with a colon between them")
                return nil
            }
            return text
        }, default: "root:root")
    private static let path = Key(
        "path",
        Form.guestTemplate.map("absolute path, template") { text, value -> String? in
            guard text.hasPrefix("/"), !text.hasSuffix("/"),
                text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
            else {
                value.expected("the absolute path of a file")
                return nil
            }
            return text
        })
    private static let permissions = DefaultedKey(
        "permissions",
        Form.line.map("octal digits") { text, value -> String? in
            guard 3...4 ~= text.utf8.count, text.utf8.allSatisfy({ 48...55 ~= $0 }) else {
                value.expected("octal digits such as 644")
                return nil
            }
            return text
        }, default: "644")
    private static let expression = Key("expression", .guestTemplate)
    private static let format = DefaultedKey(
        "format",
        Form.line.map("auto or a format of yq") { text, value -> String? in
            guard !text.isEmpty, text.utf8.allSatisfy({ 48...57 ~= $0 || 97...122 ~= $0 }) else {
                value.expected("auto, or the name of a format such as json")
                return nil
            }
            return text
        }, default: "auto")

    private static let entry = Form<Entry>.record(
        [
            mode, script, file, content, overwrite, owner, path, permissions, expression, format,
            Key(
                "skipDefaultDependencyResolution", .unread("true or false"), nil, nil,
                .noEffect("hostagent installs no packages in guests by itself")),
            Key("playbook", .unread("path"), nil, nil, .noEffect("Lima has deprecated Ansible playbooks")),
        ], named: "scripts, files and edits"
    ) { fields, value in
        guard let mode = fields.given(mode) == nil ? .system : fields[mode] else { return nil }
        switch mode {
        case .data: return dataFile(fields, value).map { .dataFile($0) }
        case .yq: return documentEdit(fields, value).map { .documentEdit($0) }
        case .ansible:
            value.warn("Lima has deprecated the mode ansible, the entry is skipped")
            return nil
        case .system, .user, .boot, .dependency:
            guard let text = scriptText(fields, value),
                let mode = Configuration.ProvisioningScript.Mode(rawValue: mode.rawValue)
            else { return nil }
            return .script(.init(mode: mode, script: text))
        }
    }
    static let provision = Key("provision", list(of: entry), .guest, .start, merging: .basesFirst)

    private static func dataFile(_ fields: Fields, _ value: ConfigurationValue) -> Configuration.DataFile? {
        if fields.given(path) == nil { value.fault("path: missing; expected the absolute path of a file in the guest") }
        if fields.given(content) == nil { value.fault("content: missing; expected the text of the file") }
        guard let path = fields[path], let content = fields[content] else { return nil }
        return .init(
            path: path, content: content,
            attributes: .init(owner: fields[owner], permissions: fields[permissions]), overwrites: fields[overwrite])
    }

    private static func documentEdit(_ fields: Fields, _ value: ConfigurationValue) -> Configuration.DocumentEdit? {
        if fields.given(path) == nil { value.fault("path: missing; expected the absolute path of a file in the guest") }
        if fields.given(expression) == nil { value.fault("expression: missing; expected an expression of yq") }
        guard let path = fields[path], let expression = fields[expression] else { return nil }
        return .init(
            path: path, expression: expression, format: fields[format],
            attributes: .init(owner: fields[owner], permissions: fields[permissions]))
    }

    // MARK: Probes

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
}
