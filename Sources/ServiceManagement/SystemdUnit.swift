import HostModel
import Templates

/// The unit that makes systemd run an instance, rendered for it.
package struct SystemdUnit: Sendable, Equatable {
    private let registration: Registration

    package init(_ registration: Registration) { self.registration = registration }

    package var scope: ManagerScope { registration.scope }
    package var name: String { ServiceName.systemdUnit(registration.instance) }
    /// Seconds the guest is to get.
    package var stopGrace: Int { registration.stopGrace }
    /// Seconds that a unit of this scope can really give it.
    package var effectiveGrace: Int { Self.effectiveGrace(stopGrace, scope: scope) }

    /// Told apart from a unit that Lima or a person made.
    package static let marker = "io.hostagent.registration/1"

    /// `user@.service` gives a user manager 120 s to stop, then everything in it is killed (systemd#4206); ten
    /// seconds before that our own unit has to be done.
    package static let userManagerStopLimit = 110

    /// What QEMU and the agent may take beyond the guest's grace: flushing and ending, killing, cleaning up.
    package static let stopMargin = 20

    /// The grace that a unit of this scope can really give.
    package static func effectiveGrace(_ grace: Int, scope: ManagerScope) -> Int {
        scope == .user ? min(grace, userManagerStopLimit - stopMargin) : grace
    }

    /// What a unit of this scope is wanted by. A user manager has no `multi-user.target`.
    package static func target(_ scope: ManagerScope) -> String {
        scope == .user ? "default.target" : "multi-user.target"
    }

    /// What a unit file says of what it starts.
    package struct Facts: Sendable, Equatable {
        package var binary: String?
        package var limaHome: String?
        package var owner: String?
        package var terms: RegisteredTerms

        package init(
            binary: String? = nil, limaHome: String? = nil, owner: String? = nil,
            terms: RegisteredTerms = .init(keepAlive: [.no], after: [], before: [])
        ) {
            self.binary = binary
            self.limaHome = limaHome
            self.owner = owner
            self.terms = terms
        }
    }

    /// Reads a unit file as this type writes them.
    package static func facts(ofText text: String) -> Facts {
        var facts = Facts()
        for line in text.split(separator: "\n") {
            guard let mark = line.firstIndex(of: "=") else { continue }
            let text = line[line.index(after: mark)...]
            let value = firstWord(text)
            switch line[..<mark] {
            case "ExecStart": facts.binary = value
            case "User": facts.owner = value
            case "Restart": facts.terms.keepAlive = value.flatMap(KeepAlive.init).map { [$0] } ?? []
            // The names of other units, the network's for one, are none of instances.
            case "After": facts.terms.after?.append(contentsOf: instances(text))
            case "Before": facts.terms.before?.append(contentsOf: instances(text))
            case "Environment":
                if let value, value.hasPrefix("LIMA_HOME=") {
                    facts.limaHome = String(value.dropFirst("LIMA_HOME=".count))
                }
            default: break
            }
        }
        return facts
    }

    private static func instances(_ list: Substring) -> [InstanceName] {
        list.split(separator: " ").compactMap { ServiceName.instance(ofSystemdUnit: String($0)) }
    }

    /// The first word of a list or command line (systemd.syntax(7)); nil where a quotation mark is not closed.
    private static func firstWord(_ text: Substring) -> String? {
        guard text.hasPrefix("\"") else {
            return text.split(separator: " ").first.map { String($0).replacing("%%", with: "%") }
        }
        var word = ""
        var quoted = false
        for character in text.dropFirst() {
            if quoted {
                quoted = false
                word.append(character)
            } else if character == "\\" {
                quoted = true
            } else if character == "\"" {
                return word.replacing("%%", with: "%")
            } else {
                word.append(character)
            }
        }
        return nil
    }

    /// The files of the registration.
    /// - Throws: `HostError` with `.usage` for what a unit file cannot say.
    package var files: [RegisteredFile] {
        get throws(HostError) { [RegisteredFile(name: name, text: try text)] }
    }

    /// The unit file's text.
    /// - Throws: `HostError` with `.usage` for what a unit file cannot say.
    package var text: String {
        get throws(HostError) {
            try requireRepresentable()
            return rendered
        }
    }

    private func requireRepresentable() throws(HostError) {
        let texts: [(text: String, what: String)] =
            [
                (registration.binary, "the path of hostagent"), (registration.limaHome, "LIMA_HOME"),
                (registration.searchPath ?? "", "PATH"), (registration.account.name, "the account's name"),
            ]
            + (registration.needs.writablePaths + registration.needs.devices).map {
                ($0, "a path that the guest needs")
            }
        for (text, what) in texts { try Representable.requireOneLine(text, what: what, format: "a unit file") }
        // systemd refuses an executable whose path has these (string_is_safe() of its source): `systemd-analyze verify`
        // says "Executable name contains special characters".
        try Representable.require(
            registration.binary, without: "\"'\\", what: "the path of hostagent", format: "ExecStart= of a unit file")
    }

    private var rendered: String {
        let values = [
            "INSTANCE": registration.instance.text,
            "MARKER": Self.marker,
            "ORDER": order,
            "BINARY": Self.word(registration.binary),
            "ENVIRONMENT": environment.map { "Environment=\(Self.word($0))\n" }.joined(),
            "ACCOUNT": scope == .system ? "User=\(Self.escape(registration.account.name))\n" : "",
            "RESTART": registration.keepAlive.rawValue,
            // The agent asks for more while a phase makes progress; this is how long it may be silent.
            "TIMEOUT_START": "60s",
            "TIMEOUT_STOP": "\(effectiveGrace + Self.stopMargin)s",
            "PRIVILEGES": registration.needs.newPrivileges ? "" : "NoNewPrivileges=yes\n",
            "SANDBOX": scope == .system ? sandbox : "",
            "WANTED_BY": Self.target(scope),
        ]
        return Templates.systemdUnit.split(separator: "@", omittingEmptySubsequences: false).enumerated().map {
            index, part in
            // Between two marks stands a name; a lone @ (as in a unit's name) does not occur in the template.
            index % 2 == 0 ? String(part) : values[String(part), default: "@\(part)@"]
        }.joined()
    }

    /// What comes before and after (systemd.unit(5)); the network and the file system of the instances before all.
    private var order: String {
        var lines: [String] = []
        if scope == .system {
            lines = [
                "After=network-online.target", "Wants=network-online.target",
                "RequiresMountsFor=\(Self.word(registration.limaHome))",
            ]
        }
        for (key, names) in [("After", registration.after), ("Before", registration.before)] where !names.isEmpty {
            lines.append("\(key)=\(names.map(ServiceName.systemdUnit).joined(separator: " "))")
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private var environment: [String] {
        ["LIMA_HOME=" + registration.limaHome] + (registration.searchPath.map { ["PATH=" + $0] } ?? [])
    }

    /// What the agent and QEMU may touch when the system's manager runs them (systemd.exec(5)). Each line was tried
    /// with a guest: QEMU's own sandbox needs the call `seccomp`, software emulation writes the code it executes, and
    /// `/dev/kvm` must be seen.
    private var sandbox: String {
        // A missing directory would keep the unit from starting (status 226), so it may be missing.
        let writable = ([registration.limaHome] + registration.needs.writablePaths).map { Self.word("-" + $0) }
            .joined(separator: " ")
        let devices = registration.needs.devices.map { "DeviceAllow=\(Self.word($0)) rw" }.joined(separator: "\n")
        let inTemporary = ["/tmp/", "/var/tmp/"].contains { (registration.limaHome + "/").hasPrefix($0) }
        return """
            CapabilityBoundingSet=
            ProtectSystem=strict
            ProtectHome=read-only
            ReadWritePaths=\(writable)
            \(inTemporary ? "# The instances are in a temporary directory, so it cannot be private." : "PrivateTmp=yes")
            DevicePolicy=closed
            \(devices)
            ProtectClock=yes
            ProtectControlGroups=yes
            ProtectHostname=yes
            ProtectKernelLogs=yes
            ProtectKernelModules=yes
            ProtectKernelTunables=yes
            RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
            RestrictNamespaces=yes
            RestrictRealtime=yes
            RestrictSUIDSGID=yes
            LockPersonality=yes
            RemoveIPC=yes
            SystemCallArchitectures=native
            SystemCallFilter=@system-service seccomp
            SystemCallErrorNumber=EPERM
            UMask=0077

            """
    }

    /// Specifiers taken literally (systemd.unit(5)).
    private static func escape(_ text: String) -> String { text.replacing("%", with: "%%") }

    /// One word of a list, an assignment, or a command line's executable, quoted (systemd.syntax(7)). The executable is the
    /// one word of a command line in which `$` begins no variable (systemd.service(5), COMMAND LINES); there it stands for
    /// itself, and doubled for two.
    private static func word(_ text: String) -> String {
        let plain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,".contains($0)) }
        if plain { return text }
        return "\"" + escape(text).replacing("\\", with: #"\\"#).replacing("\"", with: #"\""#) + "\""
    }
}
