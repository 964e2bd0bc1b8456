import Foundation
import HostModel

/// The property list that makes launchd run an instance (launchd.plist(5)).
package struct LaunchdJob: Codable, Sendable, Equatable {
    package var Label: String
    package var ProgramArguments: [String]
    package var RunAtLoad = true
    package var KeepAlive: Condition
    /// launchd starts a job at most once in this many seconds; shorter than its default it does not.
    package var ThrottleInterval = 10
    /// Seconds between SIGTERM and SIGKILL. Always set: the default was seen to be 5 and 20, and 0 waits for ever.
    package var ExitTimeOut: Int
    /// When the agent ends, launchd kills its process group; QEMU has a group of its own, and is spared this way too.
    package var AbandonProcessGroup = true
    package var EnvironmentVariables: [String: String]
    package var WorkingDirectory: String
    package var StandardOutPath = "/dev/null"
    package var StandardErrorPath: String
    /// No throttling of processor and disk, as a background job has it.
    package var ProcessType = "Interactive"
    /// A login's session, and one without a screen: over SSH.
    package var LimitLoadToSessionType: [String]?
    package var UserName: String?
    /// Tells our property lists from others; launchd ignores keys it does not know.
    package var HostAgentRegistration = 1

    /// launchd.plist(5), KeepAlive: always, never, or when the last exit was no success.
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
        // The agent ends with success where it is not to be started again: both policies read the same.
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
        RegisteredTerms(keepAlive: KeepAlive == .never ? [.no] : [.onFailure, .always])
    }

    /// - Throws: `HostError` with `.usage` for what a property list cannot say: XML has no control characters.
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

    /// A property list that hostagent made; nil for any other.
    package init?(text: [UInt8]) {
        guard let job = try? PropertyListDecoder().decode(LaunchdJob.self, from: Data(text)) else { return nil }
        self = job
    }
}
