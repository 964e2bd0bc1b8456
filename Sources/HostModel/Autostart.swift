/// When a manager starts a registered instance by itself.
package enum AutostartCondition: String, Sendable, Codable, CaseIterable {
    /// When its owner logs in; with linger, when the host boots.
    case login
    /// When the host boots, before anybody logs in.
    case boot

    /// Whose manager such a registration belongs to.
    package var scope: ManagerScope { self == .login ? .user : .system }
}

/// An account of this host.
package struct Account: Sendable, Equatable {
    package var name: String
    package var uid: UInt32
    package var home: String

    package init(name: String, uid: UInt32, home: String) {
        self.name = name
        self.uid = uid
        self.home = home
    }
}
