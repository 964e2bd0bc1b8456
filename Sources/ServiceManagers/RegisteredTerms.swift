import HostModel

/// The settings of an instance as its manager's file has them. `hostagent.yaml` may have changed since.
package struct RegisteredTerms: Sendable, Equatable {
    /// The policies that the file can stand for. A property list of launchd does not distinguish all of them.
    package var keepAlive: Set<KeepAlive>
    /// The order among instances; nil if the manager does not support an order.
    package var after: [InstanceName]?
    package var before: [InstanceName]?

    package init(keepAlive: Set<KeepAlive>, after: [InstanceName]? = nil, before: [InstanceName]? = nil) {
        self.keepAlive = keepAlive
        self.after = after
        self.before = before
    }

    /// The keys of `hostagent.yaml` whose values only take effect when the file is written again.
    package func differences(keepAlive: KeepAlive, after: [InstanceName], before: [InstanceName]) -> [String] {
        var keys: [String] = []
        if !self.keepAlive.contains(keepAlive) { keys.append("keepAlive") }
        if let mine = self.after, mine != after { keys.append("after") }
        if let mine = self.before, mine != before { keys.append("before") }
        return keys
    }
}
