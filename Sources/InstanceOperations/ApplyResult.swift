import HostModel

/// What was done to one instance, or would be done.
package struct ApplyResult: Codable, Sendable {
    package struct Failure: Codable, Sendable, Equatable {
        package var message: String
        package var hint: String?
        /// The exit status of a command that fails like this.
        package var status: Int32
    }

    /// The text of `lima.yaml`.
    package struct Difference: Codable, Sendable, Equatable {
        package var before: String
        package var after: String
    }

    package var name: String
    package var changed = false
    /// The steps that were carried out; in a dry run, those that would be.
    package var steps: [ApplyStep] = []
    /// The keys of `lima.yaml` that were set.
    package var keys: [String] = []
    /// The keys whose values count only after a restart of the guest, which was not asked for.
    package var pendingRestart: [String] = []
    /// The keys that were set and count only when an instance is created.
    package var withoutEffect: [String] = []
    package var difference: Difference?
    package var warnings: [String] = []
    package var failure: Failure?
    /// What `list` shows of it; absent if it does not exist.
    package var instance: InstanceRow?

    init(_ name: InstanceName) { self.name = name.text }

    mutating func fail(_ error: any Error) {
        if let error = error as? HostError {
            failure = Failure(message: error.message, hint: error.hint, status: error.exitStatus.rawValue)
        } else {
            failure = Failure(message: "\(error)", hint: nil, status: HostExitStatus.failure.rawValue)
        }
    }
}
