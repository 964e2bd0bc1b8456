/// Whether something can be done, and if not, why.
package enum Capability: Sendable, Equatable {
    case yes
    case no(because: String)
}

/// What a driver's guests can do.
package struct GuestCapabilities: Codable, Sendable, Equatable {
    /// Whether the guest's memory can be saved to disk, for the guest to continue from later.
    package var canSuspend: Capability
    /// Whether the guest lives on when its agent dies, so that another agent can attach to it.
    package var outlivesAgent: Capability

    package init(canSuspend: Capability, outlivesAgent: Capability) {
        self.canSuspend = canSuspend
        self.outlivesAgent = outlivesAgent
    }
}

extension Capability: Codable {
    private enum CodingKeys: String, CodingKey {
        case able, because
    }

    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        let because = try values.decodeIfPresent(String.self, forKey: .because) ?? ""
        self = try values.decode(Bool.self, forKey: .able) ? .yes : .no(because: because)
    }

    package func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .yes: try values.encode(true, forKey: .able)
        case .no(let because):
            try values.encode(false, forKey: .able)
            try values.encode(because, forKey: .because)
        }
    }
}
