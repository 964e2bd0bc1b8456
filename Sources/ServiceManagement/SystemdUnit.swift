import HostModel
import Templates

/// The unit that makes systemd run an instance, rendered for it.
package struct SystemdUnit: Sendable, Equatable {
    private let registration: Registration

    package init(_ registration: Registration) { self.registration = registration }

    package var scope: ManagerScope { registration.condition.scope }
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
            case "ExecStart": facts.binary = value?.replacing("$$", with: "$")
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

    /// The unit file's text.
    package var text: String {
        let values = [
            "INSTANCE": registration.instance.text,
            "MARKER": Self.marker,
            "ORDER": order,
            "BINARY": Self.word(registration.binary, inCommand: true),
            "ENVIRONMENT": environment.map { "Environment=\(Self.word($0))\n" }.joined(),
            "ACCOUNT": scope == .system ? "User=\(Self.escape(registration.account.name))\n" : "",
            "RESTART": registration.keepAlive.rawValue,
            // The agent asks for more while a phase makes progress; this is how long it may be silent.
            "TIMEOUT_START": "60s",
            "TIMEOUT_STOP": "\(effectiveGrace + Self.stopMargin)s",
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
        let inTemporary = ["/tmp/", "/var/tmp/"].contains { (registration.limaHome + "/").hasPrefix($0) }
        return """
            CapabilityBoundingSet=
            ProtectSystem=strict
            ProtectHome=read-only
            ReadWritePaths=\(Self.word("-" + registration.limaHome))
            \(inTemporary ? "# The instances are in a temporary directory, so it cannot be private." : "PrivateTmp=yes")
            DevicePolicy=closed
            DeviceAllow=/dev/kvm rw
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

    /// One word of a list or assignment, quoted (systemd.syntax(7)). In command lines `$` begins a variable and is
    /// doubled (systemd.service(5)).
    private static func word(_ text: String, inCommand: Bool = false) -> String {
        let plain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,".contains($0)) }
        if plain { return text }
        var inner = escape(text).replacing("\\", with: #"\\"#).replacing("\"", with: #"\""#)
        if inCommand { inner = inner.replacing("$", with: "$$") }
        return "\"" + inner + "\""
    }
}
