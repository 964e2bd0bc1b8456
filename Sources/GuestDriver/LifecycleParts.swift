import HostModel

extension Lifecycle {
    /// The part that is the guest's network.
    static let network = "network"

    /// A part of the guest is missing. The guest can be used without it, and is `degraded` meanwhile.
    mutating func partFailed(_ part: String, _ reason: String) -> [Action] {
        let before = standingFault
        let isKnown = partFaults[part] == reason
        partFaults[part] = reason
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

    /// A part of the guest is there, perhaps again.
    mutating func partWorks(_ part: String) -> [Action] {
        let fault = standingFault
        guard partFaults.removeValue(forKey: part) != nil, let fault, state == .degraded(reason: fault) else {
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
