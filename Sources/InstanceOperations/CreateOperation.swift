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
        let creator = InstanceCreator(home: home, provider: context.sourceFiles)
        let warnings = try await creator.create(name: name, source: text, file: file) { [progress = context.progress] in
            progress(.download($0))
        }
        return CreateResult(name: name.text, dir: home.directory(of: name).path, warnings: warnings)
    }

    /// What `run` would do.
    /// - Throws: `HostError` for everything that `run` refuses before it makes anything.
    package func plan(_ name: InstanceName, _ text: String, _ file: String) async throws -> OperationPlan {
        let home = try context.home()
        let addresses = try await InstanceCreator(home: home, provider: context.sourceFiles)
            .check(name: name, source: text, file: file)
        return OperationPlan(
            name: name.text,
            steps: addresses.map { "download \($0)" } + ["make \(home.directory(of: name).path)"])
    }
}
