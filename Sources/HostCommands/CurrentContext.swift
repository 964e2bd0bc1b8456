import HostModel
import InstanceOperations
import ServiceManagers

/// Holds the context of the commands that run in this task.
package enum CurrentContext {
    @TaskLocal package static var value = OperationContext(
        environment: [:], account: nobody, manager: SystemdManager(.init(environment: [:], account: nobody)),
        runAgent: { _ in throw HostError(.failed, "this program runs no agents") },
        endOrphan: { _, _ in false }, orphan: { _ in nil }, check: { _ in }, tryAccelerator: { nil })

    private static let nobody = Account(name: "nobody", uid: 65534, home: "/")
}

extension OperationContext {
    /// The context of this task.
    static var current: OperationContext { CurrentContext.value }
}
