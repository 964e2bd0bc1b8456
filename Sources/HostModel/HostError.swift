/// An error written for people. It says what failed, on what, why, and what to do about it.
///
/// Errors of lower layers are translated into `HostError` at the boundary where their meaning is known.
package struct HostError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure, which decides the exit status.
    package enum Code: Sendable, Hashable, CaseIterable {
        /// The guest or the agent failed. A retry can succeed.
        case failed
        /// The command line is invalid.
        case usage
        /// A configuration, digest or image is wrong. A retry fails in the same way.
        case badConfiguration
        /// No such instance.
        case noSuchInstance
        /// Something needed is missing or taken: a binary, a port, a file.
        case unavailable
        /// Given up after repeated failures.
        case exhausted
        /// Something cannot be created: the disk is full or not writable.
        case cannotCreate
        /// Another process holds the instance.
        case held
        /// The caller is not permitted to do this.
        case notPermitted
    }

    package var code: Code
    package var message: String
    /// What to do about it, as a sentence or a command line.
    package var hint: String?
    /// The exit status of the agent or process that failed, if it says more than the code.
    package var status: HostExitStatus?

    package init(_ code: Code, _ message: String, hint: String? = nil, status: HostExitStatus? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
        self.status = status
    }

    package var exitStatus: HostExitStatus {
        if let status { return status }
        return switch code {
        case .failed: .failure
        case .usage: .usage
        case .badConfiguration: .badConfiguration
        case .noSuchInstance: .noSuchInstance
        case .unavailable: .unavailable
        case .exhausted: .exhausted
        case .cannotCreate: .cannotCreate
        case .held: .held
        case .notPermitted: .notPermitted
        }
    }

    package var description: String {
        hint.map { "\(message)\n  \($0)" } ?? message
    }
}

/// The exit statuses of `hostagent`. Those from 64 on have the numbers of sysexits.h and the meanings of
/// `HostError.Code`.
package enum HostExitStatus: Int32, Sendable, CaseIterable {
    /// Success. For an agent: the guest powered itself off.
    case success = 0
    /// The guest or the agent failed. A restart can succeed.
    case failure = 1
    /// The agent was stopped on request, no matter who asked.
    case stoppedOnRequest = 3
    case usage = 64
    case badConfiguration = 65
    case noSuchInstance = 66
    case unavailable = 69
    case exhausted = 70
    case cannotCreate = 73
    case held = 75
    case notPermitted = 77
}
