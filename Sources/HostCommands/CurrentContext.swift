import HostModel
import InstanceOperations
import LimaConfiguration
import ServiceManagers

/// Holds the context of the commands that run in this task.
package enum CurrentContext {
    @TaskLocal package static var value = OperationContext(
        environment: [:], account: nobody, manager: SystemdManager(.init(environment: [:], account: nobody)),
        sourceFiles: NoSourceFiles(),
        runAgent: { _ in throw HostError(.failed, "this program runs no agents") },
        endOrphan: { _, _ in false }, orphan: { _ in nil }, check: { _ in }, tryAccelerator: { nil })

    private struct NoSourceFiles: SourceFileProvider {
        func provide(
            _ file: Configuration.SourceFile, what: String, limit: Int?, report: @escaping TransferProgress.Report
        ) async throws -> ProvidedFile {
            throw HostError(.failed, "this program gets no files")
        }

        func prune(keeping addresses: Set<String>) -> [(address: String, bytes: Int)] { [] }

        func present(_ file: Configuration.SourceFile) -> String? { nil }
    }

    private static let nobody = Account(name: "nobody", uid: 65534, home: "/")
}

extension OperationContext {
    /// The context of this task.
    static var current: OperationContext { CurrentContext.value }
}
