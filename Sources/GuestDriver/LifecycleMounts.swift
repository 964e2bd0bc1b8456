import HostModel

extension Lifecycle {
    /// A directory of the host is not in the guest. The guest can be used without it, and is `degraded` meanwhile.
    mutating func mountFailed(_ mountPoint: String, _ reason: String) -> [Action] {
        let before = standingFault
        let isKnown = mountFaults[mountPoint] == reason
        mountFaults[mountPoint] = reason
        switch state {
        case .running:
            state = .degraded(reason: reason)
            return [.emit(.failure(reason)), .enter(.degraded)]
        case .degraded(let known) where !isKnown:
            // A machine that does not answer remains the reason until it answers.
            if known == before { state = .degraded(reason: standingFault ?? known) }
            return [.emit(.failure(reason))]
        // A guest that becomes usable says it then.
        default: return []
        }
    }

    /// A directory of the host is in the guest, perhaps again.
    mutating func mounted(_ mountPoint: String) -> [Action] {
        let fault = standingFault
        guard mountFaults.removeValue(forKey: mountPoint) != nil, let fault, state == .degraded(reason: fault) else {
            return []
        }
        if let fault = standingFault {
            state = .degraded(reason: fault)
            return []
        }
        state = .running
        return [.enter(.running)]
    }
}
