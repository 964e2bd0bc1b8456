/// The account that a person gets in the guest.
package struct GuestUser: Sendable, Equatable {
    package var name: String
    /// The full name, of the user database's comment field.
    package var comment: String
    package var uid: Int
    package var home: String
    package var shell: String

    package init(name: String, comment: String, uid: Int, home: String, shell: String) {
        self.name = name
        self.comment = comment
        self.uid = uid
        self.home = home
        self.shell = shell
    }
}
