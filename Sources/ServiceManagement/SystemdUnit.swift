import HostModel
import Templates

/// The unit that makes systemd run an instance, rendered for it.
package struct SystemdUnit: Sendable, Equatable {
    package var instance: InstanceName
    package var scope: ManagerScope
    /// The absolute path of `hostagent`.
    package var binary: String
    package var limaHome: String
    /// The account of a system unit's process; unused in a user unit.
    package var account: String?
    package var keepAlive: KeepAlive
    /// Seconds the guest gets to shut down.
    package var stopGrace: Int

    package init(
        instance: InstanceName, scope: ManagerScope, binary: String, limaHome: String, account: String? = nil,
        keepAlive: KeepAlive = .onFailure, stopGrace: Int = 90
    ) {
        self.instance = instance
        self.scope = scope
        self.binary = binary
        self.limaHome = limaHome
        self.account = account
        self.keepAlive = keepAlive
        self.stopGrace = stopGrace
    }

    package var name: String { ServiceName.systemdUnit(instance) }

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

    /// The unit file's text.
    package var text: String {
        let grace = Self.effectiveGrace(stopGrace, scope: scope)
        let values = [
            "INSTANCE": instance.text,
            "MARKER": Self.marker,
            "AFTER": scope == .system ? "After=network-online.target\nWants=network-online.target\n" : "",
            "BINARY": Self.word(binary),
            "LIMA_HOME": Self.word("LIMA_HOME=" + limaHome),
            "ACCOUNT": scope == .system ? account.map { "User=\(Self.escape($0))\n" } ?? "" : "",
            "RESTART": keepAlive.rawValue,
            // The agent asks for more while a phase makes progress; this is how long it may be silent.
            "TIMEOUT_START": "60s",
            "TIMEOUT_STOP": "\(grace + Self.stopMargin)s",
            "WANTED_BY": scope == .system ? "multi-user.target" : "default.target",
        ]
        return Templates.systemdUnit.split(separator: "@", omittingEmptySubsequences: false).enumerated().map {
            index, part in
            // Between two marks stands a name; a lone @ (as in a unit's name) does not occur in the template.
            index % 2 == 0 ? String(part) : values[String(part), default: "@\(part)@"]
        }.joined()
    }

    /// Specifiers taken literally (systemd.unit(5)).
    private static func escape(_ text: String) -> String { text.replacing("%", with: "%%") }

    /// One word of a command line or assignment, quoted (systemd.syntax(7)); `$` is only special in command lines,
    /// where it is doubled, and no path of ours needs one elsewhere.
    private static func word(_ text: String) -> String {
        let plain = text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/._-+:=@,".contains($0)) }
        if plain { return text }
        return "\"" + escape(text).replacing("\\", with: #"\\"#).replacing("\"", with: #"\""#) + "\""
    }
}
