/// The person's account in the guest.
package struct GuestUser: Sendable, Equatable {
    package var name: String
    /// The full name: the comment field of the user database.
    package var comment: String
    package var uid: Int
    package var home: String
    package var shell: String
    /// Whether `sudo` asks for no password. Without it, the user cannot become root: no user has a password.
    package var passwordlessSudo = true

    package init(name: String, comment: String, uid: Int, home: String, shell: String) {
        self.name = name
        self.comment = comment
        self.uid = uid
        self.home = home
        self.shell = shell
    }
}
