import HostModel
import HostOS
import InstanceStore
import LimaConfiguration
import ServiceManagers

/// Removes registrations.
package struct AutostartOperation: Sendable {
    private let context: OperationContext

    package init(context: OperationContext) { self.context = context }

    private func registrations(of name: InstanceName) throws -> (mine: [FoundRegistration], others: [FoundRegistration])
    {
        let home = try context.home()
        let found = context.manager.registrations(of: name)
        let mine = found.filter { $0.isFor(home: home.path, of: context.account) }
        return (mine, found.filter { !mine.contains($0) })
    }

    /// Removes the registrations of an instance and stops agents that they started. The instance itself may be gone.
    package func disable(_ name: InstanceName) async throws -> AutostartResult {
        let (mine, others) = try registrations(of: name)
        for registration in mine {
            try await context.manager.disable(registration)
            // The agent that the manager stopped may have left its guest running.
            guard let directory = try? context.home().existing(name) else { continue }
            if let owner = try OwnerBoundary(name.text, context) {
                _ = try await owner.perform(["owner", "tidy", name.text])
            } else {
                try await RegistrationWork.tidy(directory, context)
            }
        }
        let notes = others.map { other in
            let whose = other.isOurs ? "is for another instance of that name" : "was not made by hostagent"
            return "\(other.file) \(whose) and is left alone"
        }
        return AutostartResult(
            name: name.text, outcome: mine.isEmpty ? .notRegistered : .unregistered,
            condition: mine.first?.condition, notes: notes)
    }

    /// What `disable` would do.
    package func planOfDisable(_ name: InstanceName) throws -> OperationPlan {
        let steps = try registrations(of: name).mine.map { "stop what \($0.identifier) runs, and remove \($0.file)" }
        return OperationPlan(name: name.text, steps: steps)
    }
}
