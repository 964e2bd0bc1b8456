import HostModel

/// The settings of an instance as its manager's file has them. `hostagent.yaml` may have changed since.
package struct RegisteredTerms: Sendable, Equatable {
    /// The policies that the file can stand for. A property list of launchd does not distinguish all of them.
    package var keepAlive: Set<KeepAlive>
    /// The order among instances; nil if the manager does not support an order.
    package var after: [InstanceName]?
    package var before: [InstanceName]?
    /// The seconds after which the manager ends the agent of a guest that does not shut down; nil if the agent can ask the
    /// manager for more time.
    package var stopGrace: Int?

    package init(
        keepAlive: Set<KeepAlive>, after: [InstanceName]? = nil, before: [InstanceName]? = nil, stopGrace: Int? = nil
    ) {
        self.keepAlive = keepAlive
        self.after = after
        self.before = before
        self.stopGrace = stopGrace
    }

    /// The keys of `hostagent.yaml` whose values only take effect when the file is written again.
    package func differences(
        keepAlive: KeepAlive, after: [InstanceName], before: [InstanceName], stopGrace: Int
    ) -> [String] {
        var keys: [String] = []
        if !self.keepAlive.contains(keepAlive) { keys.append("keepAlive") }
        if let mine = self.after, mine != after { keys.append("after") }
        if let mine = self.before, mine != before { keys.append("before") }
        if let mine = self.stopGrace, mine != stopGrace { keys.append("stopGrace") }
        return keys
    }
}
