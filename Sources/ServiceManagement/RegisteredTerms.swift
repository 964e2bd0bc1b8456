import HostModel

/// What a manager's file says of an instance that its settings say too, and may say otherwise since.
package struct RegisteredTerms: Sendable, Equatable {
    /// The policies that read like this in the file: launchd's cannot tell all apart.
    package var keepAlive: Set<KeepAlive>
    /// The order among instances; nil where the manager knows none.
    package var after: [InstanceName]?
    package var before: [InstanceName]?

    package init(keepAlive: Set<KeepAlive>, after: [InstanceName]? = nil, before: [InstanceName]? = nil) {
        self.keepAlive = keepAlive
        self.after = after
        self.before = before
    }

    /// The keys of `hostagent.yaml` that count once the file is written anew.
    package func differences(keepAlive: KeepAlive, after: [InstanceName], before: [InstanceName]) -> [String] {
        var keys: [String] = []
        if !self.keepAlive.contains(keepAlive) { keys.append("keepAlive") }
        if let mine = self.after, mine != after { keys.append("after") }
        if let mine = self.before, mine != before { keys.append("before") }
        return keys
    }
}
