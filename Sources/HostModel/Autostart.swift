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
    /// Its primary group.
    package var gid: UInt32
    package var home: String

    /// - Parameter gid: its primary group; without it the one of the same number, as most systems give it.
    package init(name: String, uid: UInt32, gid: UInt32? = nil, home: String) {
        self.name = name
        self.uid = uid
        self.gid = gid ?? uid
        self.home = home
    }
}
