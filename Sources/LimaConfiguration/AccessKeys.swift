import HostModel

/// The keys of how a person gets into the guest.
enum AccessKeys {
    private static let localPort = Key("localPort", .integer(in: 0...65535), standard: "`0`: every start chooses one")
    private static let loadDotSSHPubKeys = DefaultedKey("loadDotSSHPubKeys", .boolean, default: false)
    private static let forwardAgent = DefaultedKey("forwardAgent", .boolean, default: false)
    private static let forwardX11 = DefaultedKey("forwardX11", .boolean, default: false)
    private static let forwardX11Trusted = DefaultedKey("forwardX11Trusted", .boolean, default: false)

    struct GivenSSH {
        /// The port of the host that leads to the guest's SSH server; nil if every start chooses one.
        var localPort: Int?
        var options: Configuration.SSHOptions
    }

    static let ssh = Key<GivenSSH>(
        "ssh",
        .record([
            localPort, loadDotSSHPubKeys, forwardAgent, forwardX11, forwardX11Trusted,
            Key("address", .unread("text"), nil, nil, .noEffect("SSH is on 127.0.0.1")),
            Key(
                "overVsock", .unread("true or false"), nil, nil,
                .noEffect("QEMU guests are reached through a port of 127.0.0.1")),
        ]) { fields, value in
            var options = Configuration.SSHOptions()
            options.loadsOwnKeys = fields[loadDotSSHPubKeys]
            options.forwardsAgent = fields[forwardAgent]
            options.forwardsX11 = fields[forwardX11]
            options.forwardsX11Trusted = fields[forwardX11Trusted]
            let port = fields[localPort]
            if port == 22 { value.fault("localPort: 22 is the port of the host's own SSH server") }
            return GivenSSH(localPort: port == 0 ? nil : port, options: options)
        }, .access, .start)

    /// What `user` says. Everything else is derived from the host's user.
    struct GivenUser {
        var name: String?
        var comment: String?
        var uid: Int?
        var home: String?
        var shell: String?
    }

    private static let name = Key<String>(
        "name",
        Form.line.map("user name") { text, value in
            guard isUserName(text), text != "root" else {
                value.fault("\(InstanceName.quoted(text)) is not a user name a guest can have")
                return nil
            }
            return text
        }, standard: "the host's user, or `lima`")
    private static let comment = Key("comment", .line, standard: "")
    private static let uid = Key("uid", .integer(in: 1...65533), standard: "the host's user, or 1000")
    private static let home = Key<String>(
        "home",
        Form.guestTemplate.map("absolute path, template") { text, value in
            guard !text.contains("{{") else {
                value.fault("a home can name {{.User}}, {{.UID}}, {{.Name}}, {{.Hostname}} and {{.Param.NAME}} only")
                return nil
            }
            guard text.hasPrefix("/"), !text.contains(where: { $0 == ":" || $0 == "'" || $0.isNewline }),
                text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 })
            else {
                value.fault("expected an absolute path without colons, quotes and control characters")
                return nil
            }
            return text
        }, standard: "`/home/{{.User}}.guest`")
    private static let shell = Key<String>(
        "shell",
        Form.line.map("absolute path") { text, value in
            guard text.hasPrefix("/") else {
                value.fault("expected an absolute path")
                return nil
            }
            return text
        }, standard: "`/bin/bash`")

    private static let passwordlessSudo = DefaultedKey("passwordlessSudo", .boolean, default: true)

    static let user = Key<GuestUser>(
        "user",
        .record([name, comment, uid, home, shell, passwordlessSudo]) { fields, value in
            let reading = value.reading
            var given = GivenUser(name: fields[name], comment: fields[comment], uid: fields[uid], shell: fields[shell])
            // The home may name the rest of the user.
            let user = GuestUser(given, reading)
            reading.variables.values.merge(["User": user.name, "UID": String(user.uid)]) { _, new in new }
            given.home = fields[home]
            var whole = GuestUser(given, reading)
            whole.passwordlessSudo = fields[passwordlessSudo]
            return whole
        }, .guest, .start)

    static let all: [any KeyDeclaration] = [ssh, user]

    /// useradd(8): at most 32 lower case letters, digits, dashes and underscores. The first is not a digit or a dash.
    fileprivate static func isUserName(_ text: String) -> Bool {
        let first = text.utf8.first.map { 97...122 ~= $0 || $0 == 95 } ?? false
        return first && text.utf8.count <= 32
            && text.utf8.allSatisfy { 97...122 ~= $0 || 48...57 ~= $0 || $0 == 95 || $0 == 45 }
    }
}

extension GuestUser {
    /// The user that a file asks for, completed as Lima does: by default the guest has a user with the name of the host's,
    /// or `lima` if a guest cannot have that name. Nobody logs in as root.
    init(_ given: AccessKeys.GivenUser, _ reading: Reading) {
        let host = reading.host
        let hostName = AccessKeys.isUserName(host.userName) && host.userName != "root" ? host.userName : "lima"
        let name = given.name ?? hostName
        self.init(
            name: name, comment: (given.comment ?? "").filter { $0 != ":" },
            uid: given.uid ?? (1000...65533 ~= host.uid ? host.uid : 1000),
            home: given.home ?? "/home/\(name).guest", shell: given.shell ?? "/bin/bash")
    }
}
