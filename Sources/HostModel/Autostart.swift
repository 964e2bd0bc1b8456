/// When a manager starts a registered instance by itself.
package enum AutostartCondition: String, Sendable, Codable, CaseIterable {
    /// When its owner logs in; with linger, when the host boots.
    case login
    /// When the host boots, before anybody logs in.
    case boot

    /// The scope of the manager that holds such a registration.
    package var scope: ManagerScope { self == .login ? .user : .system }
}

/// An account of this host.
package struct Account: Sendable, Equatable {
    package var name: String
    package var uid: UInt32
    /// Its primary group.
    package var gid: UInt32
    package var home: String

    /// - Parameter gid: its primary group. The default is the group with the account's own number, as on most systems.
    package init(name: String, uid: UInt32, gid: UInt32? = nil, home: String) {
        self.name = name
        self.uid = uid
        self.gid = gid ?? uid
        self.home = home
    }
}
