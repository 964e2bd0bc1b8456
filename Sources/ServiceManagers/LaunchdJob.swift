import Foundation
import HostModel

/// The property list that makes launchd run an instance (launchd.plist(5)).
package struct LaunchdJob: Codable, Sendable, Equatable {
    package var Label: String
    package var ProgramArguments: [String]
    package var RunAtLoad = true
    package var KeepAlive: Condition
    /// launchd starts a job at most once in this many seconds. Values below its default have no effect.
    package var ThrottleInterval = 10
    /// Seconds between SIGTERM and SIGKILL. Always set, because defaults of 5 and 20 were observed. 0 waits forever.
    package var ExitTimeOut: Int
    /// By default launchd kills a job's process group when the job ends. This setting prevents that. QEMU also has its
    /// own process group.
    package var AbandonProcessGroup = true
    package var EnvironmentVariables: [String: String]
    package var WorkingDirectory: String
    package var StandardOutPath = "/dev/null"
    package var StandardErrorPath: String
    /// Avoids the throttling of processor and disk that background jobs get.
    package var ProcessType = "Interactive"
    /// The session of a graphical login, and one without a screen, such as over SSH.
    package var LimitLoadToSessionType: [String]?
    package var UserName: String?
    /// Distinguishes our property lists from others. launchd ignores keys that it does not know.
    package var HostAgentRegistration = 1

    /// `KeepAlive` of launchd.plist(5). The forms in use are never, and only after an unsuccessful exit.
    package enum Condition: Codable, Sendable, Equatable {
        case never
        case afterFailure

        private enum Keys: String, CodingKey {
            case SuccessfulExit
        }

        package init(from decoder: any Decoder) throws {
            let isConditional = (try? decoder.container(keyedBy: Keys.self))?.contains(.SuccessfulExit) ?? false
            self = isConditional ? .afterFailure : .never
        }

        package func encode(to encoder: any Encoder) throws {
            switch self {
            case .never:
                var value = encoder.singleValueContainer()
                try value.encode(false)
            case .afterFailure:
                var dictionary = encoder.container(keyedBy: Keys.self)
                try dictionary.encode(false, forKey: .SuccessfulExit)
            }
        }
    }

    package init(_ registration: Registration) {
        let instance = registration.instance
        Label = ServiceName.launchdLabel(instance, scope: registration.scope)
        ProgramArguments = [registration.binary, "start", instance.text, "--foreground", "--progress"]
        // The agent exits with success if it must not be started again, so both other policies use the same value.
        KeepAlive = registration.keepAlive == .no ? .never : .afterFailure
        ExitTimeOut = registration.stopGrace + SystemdUnit.stopMargin
        EnvironmentVariables = ["LIMA_HOME": registration.limaHome]
        if let path = registration.searchPath { EnvironmentVariables["PATH"] = path }
        let directory = "\(registration.limaHome)/\(instance)"
        WorkingDirectory = directory
        StandardErrorPath = directory + "/ha.stderr.log"
        LimitLoadToSessionType = registration.scope == .user ? ["Aqua", "Background"] : nil
        UserName = registration.scope == .system ? registration.account.name : nil
    }

    package var terms: RegisteredTerms {
        RegisteredTerms(
            keepAlive: KeepAlive == .never ? [.no] : [.onFailure, .always],
            stopGrace: ExitTimeOut - SystemdUnit.stopMargin)
    }

    /// - Throws: `HostError` with `.usage` for text that a property list cannot contain: XML has no control characters.
    package var text: String {
        get throws {
            let texts = ProgramArguments + EnvironmentVariables.flatMap { [$0.key, $0.value] } + [StandardErrorPath]
            for text in texts {
                try Representable.requireOneLine(text, what: "a path or variable", format: "a property list")
            }
            let encoder = PropertyListEncoder()
            encoder.outputFormat = .xml
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }

    /// Reads a property list that hostagent made; nil for any other.
    package init?(text: [UInt8]) {
        guard let job = try? PropertyListDecoder().decode(LaunchdJob.self, from: Data(text)) else { return nil }
        self = job
    }
}
