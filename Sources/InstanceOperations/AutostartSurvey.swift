import AgentAPI
import Foundation
import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// What `autostart status` shows for one instance.
package struct AutostartRow: Codable, Sendable, Equatable {
    package var name: String
    /// `login` or `boot`; absent if it is not registered.
    package var condition: AutostartCondition?
    /// It is registered at login and the user manager runs from boot on, so it starts with the host.
    package var lingers: Bool?
    /// The unit or label.
    package var identifier: String?
    package var file: String?
    /// hostagent made the registration.
    package var ours: Bool?
    package var enabled: Bool
    package var loaded: Bool
    package var status: InstanceStatus
    /// The unit or label that runs it, or "a person" when a person started the agent; absent when nothing runs.
    package var runBy: String?
    /// RFC 3339.
    package var since: String?
    package var restarts: Int?
    package var lastFailure: String?
    /// RFC 3339.
    package var nextTry: String?
}

/// Combines the answers of the files, the manager and the agents. The manager is asked once for all instances.
package struct AutostartSurvey: Sendable {
    let context: OperationContext

    package init(context: OperationContext) { self.context = context }

    package func rows(_ directories: [InstanceDirectory]) async throws -> [AutostartRow] {
        let registrations = directories.map(context.registrations(of:))
        async let states = InstanceSurvey(context: context).states(directories)
        let known = try await context.manager.status(registrations.flatMap { $0 })
        var statuses = known[...]
        return zip(zip(directories, registrations), await states).map { pair, state in
            let (directory, found) = pair
            let mine = Array(statuses.prefix(found.count))
            statuses = statuses.dropFirst(found.count)
            return row(directory, found, mine, state)
        }
    }

    private func row(
        _ directory: InstanceDirectory, _ found: [FoundRegistration], _ statuses: [ManagerStatus],
        _ state: InstanceSurvey.State
    ) -> AutostartRow {
        var row = AutostartRow(
            name: directory.name.text, enabled: false, loaded: false, status: state.status)
        if let info = state.info {
            row.runBy = info.autoStartedIdentifier ?? "a person"
            row.since = info.startedAt
        }
        row.lastFailure = state.failure
        guard let index = found.firstIndex(where: \.isOurs) ?? found.indices.first else { return row }
        let (registration, status) = (found[index], statuses[index])
        row.condition = registration.condition
        let couldLinger = context.manager.kind == .systemd && registration.condition == .login
        row.lingers = couldLinger ? Linger.isEnabled(context.account) : nil
        row.identifier = registration.identifier
        row.file = registration.file
        row.ours = registration.isOurs
        row.enabled = status.isEnabled
        row.loaded = status.isLoaded
        row.restarts = status.restarts
        row.since = row.since ?? status.since.map(Self.time)
        // The reason why the guest failed says more than the exit status of its agent.
        row.lastFailure = state.failure ?? status.lastFailure
        let next = status.nextTry ?? RestartHistory.load(directory).nextTry
        row.nextTry = next.flatMap { $0 > HostClock.now ? Self.time($0) : nil }
        return row
    }

    private static func time(_ seconds: Double) -> String {
        Date(timeIntervalSince1970: seconds).formatted(.iso8601)
    }
}
