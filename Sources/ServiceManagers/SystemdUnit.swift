import HostModel
import Templates

/// The unit that makes systemd run an instance.
package struct SystemdUnit: Sendable, Equatable {
    private let registration: Registration

    package init(_ registration: Registration) { self.registration = registration }

    package var scope: ManagerScope { registration.scope }
    package var name: String { ServiceName.systemdUnit(registration.instance) }
    /// Seconds that the guest should get to shut down.
    package var stopGrace: Int { registration.stopGrace }
    /// Seconds that a unit of this scope can actually give the guest.
    package var effectiveGrace: Int { Self.effectiveGrace(stopGrace, scope: scope) }

    /// Distinguishes our units from those that Lima or a person made.
    package static let marker = "io.hostagent.registration/1"

    /// `user@.service` gives a user manager 120 s to stop, then everything in it is killed (systemd#4206). Our own unit
    /// has to finish ten seconds before that.
    package static let userManagerStopLimit = 110

    /// Seconds that QEMU and the agent may take after the guest's grace, to flush and end, kill and clean up.
    package static let stopMargin = 20

    /// The part of the grace that a unit of this scope can actually give.
    package static func effectiveGrace(_ grace: Int, scope: ManagerScope) -> Int {
        scope == .user ? min(grace, userManagerStopLimit - stopMargin) : grace
    }

    /// The target that wants a unit of this scope. A user manager has no `multi-user.target`.
    package static func target(_ scope: ManagerScope) -> String {
        scope == .user ? "default.target" : "multi-user.target"
    }

    /// What a unit file says about the service that it starts.
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

    /// Reads a unit file of the form that this type writes.
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
            // Other units, such as the network's, are skipped: their names are not those of instances.
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

    /// The first word of a list or command line (systemd.syntax(7)); nil if a quotation mark is not closed.
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
        // systemd refuses an executable whose path contains these characters (string_is_safe() in its source).
        // `systemd-analyze verify` says "Executable name contains special characters".
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
            // The agent asks for more time while a phase makes progress. This is how long it may be silent.
            "TIMEOUT_START": "60s",
            "TIMEOUT_STOP": "\(effectiveGrace + Self.stopMargin)s",
            "PRIVILEGES": registration.needs.newPrivileges ? "" : "NoNewPrivileges=yes\n",
            "SANDBOX": scope == .system ? sandbox : "",
            "WANTED_BY": Self.target(scope),
        ]
        return Templates.systemdUnit.split(separator: "@", omittingEmptySubsequences: false).enumerated().map {
            index, part in
            // The name of a value is between two @. The template has no single @, as in a unit's name.
            index % 2 == 0 ? String(part) : values[String(part), default: "@\(part)@"]
        }.joined()
    }

    /// The order relative to other units (systemd.unit(5)). The network and the file system of the instances come
    /// first.
    private var order: String {
        var lines: [String] = []
        if scope == .system {
            lines = [
                "After=network-online.target", "Wants=network-online.target",
                "RequiresMountsFor="
                    + ([registration.limaHome] + registration.needs.writablePaths + registration.needs.readablePaths)
                    .map(Self.word).joined(separator: " "),
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

    /// What the agent and QEMU may access if the system's manager runs them (systemd.exec(5)). Each line was tested
    /// with a guest. QEMU's own sandbox needs the system call `seccomp`, software emulation writes the code that it
    /// executes, and `/dev/kvm` must be visible.
    private var sandbox: String {
        // The dash allows a directory to be missing. Otherwise the unit would not start (status 226).
        let writable = ([registration.limaHome] + registration.needs.writablePaths).map { Self.word("-" + $0) }
            .joined(separator: " ")
        let devices = registration.needs.devices.map { "DeviceAllow=\(Self.word($0)) rw" }.joined(separator: "\n")
        let needed = [registration.limaHome] + registration.needs.writablePaths + registration.needs.readablePaths
        let inTemporary = needed.contains { path in ["/tmp/", "/var/tmp/"].contains { (path + "/").hasPrefix($0) } }
        let namespaces = registration.needs.namespaces
        return """
            CapabilityBoundingSet=
            ProtectSystem=strict
            ProtectHome=read-only
            ReadWritePaths=\(writable)
            \(inTemporary ? "# What the guest needs is in a temporary directory, so that cannot be private." : "PrivateTmp=yes")
            DevicePolicy=closed
            \(devices)
            ProtectClock=yes
            ProtectControlGroups=yes
            ProtectHostname=yes
            ProtectKernelLogs=yes
            ProtectKernelModules=yes
            ProtectKernelTunables=yes
            RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\(registration.needs.netlink ? " AF_NETLINK" : "")
            RestrictNamespaces=\(namespaces ? "user mnt ipc uts pid" : "yes")
            RestrictRealtime=yes
            \(namespaces ? "# RestrictSUIDSGID=yes would forbid openat2(2), which bubblewrap needs since 0.12." : "RestrictSUIDSGID=yes")
            LockPersonality=yes
            RemoveIPC=yes
            SystemCallArchitectures=native
            SystemCallFilter=@system-service seccomp\(namespaces ? " @mount" : "")
            SystemCallErrorNumber=EPERM
            UMask=0077

            """
    }

    /// Escapes specifiers, so that they are taken literally (systemd.unit(5)).
    private static func escape(_ text: String) -> String { text.replacing("%", with: "%%") }

    /// Quotes a word of a list, an assignment, or a command line's executable (systemd.syntax(7)). `$` is not escaped:
    /// the executable is the only word of a command line in which `$` does not begin a variable, and `$$` stands for
    /// two (systemd.service(5), COMMAND LINES).
    private static func word(_ text: String) -> String {
        let plain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,".contains($0)) }
        if plain { return text }
        return "\"" + escape(text).replacing("\\", with: #"\\"#).replacing("\"", with: #"\""#) + "\""
    }
}
