import HostModel
import InstanceStore

/// Creates an instance from the text of a `lima.yaml`.
package struct CreateOperation: Sendable {
    private let context: OperationContext

    package init(context: OperationContext) { self.context = context }

    /// - Parameter file: the name of the text in messages.
    /// - Throws: `HostError`; nothing is left behind in that case.
    package func run(_ name: InstanceName, _ text: String, _ file: String) async throws -> CreateResult {
        let home = try context.home()
        let warnings = try await InstanceCreator(home: home).create(name: name, source: text, file: file)
        return CreateResult(name: name.text, dir: home.directory(of: name).path, warnings: warnings)
    }

    /// What `run` would do.
    /// - Throws: `HostError` for everything that `run` refuses before it makes anything.
    package func plan(_ name: InstanceName, _ text: String, _ file: String) async throws -> OperationPlan {
        let home = try context.home()
        try await InstanceCreator(home: home).check(name: name, source: text, file: file)
        return OperationPlan(name: name.text, steps: ["make \(home.directory(of: name).path)"])
    }
}
