/// How far the download of one file is.
package struct TransferProgress: Sendable, Equatable {
    package enum State: Sendable, Equatable {
        /// Bytes arrive.
        case receiving
        /// Another process downloads the file, and this one waits for it.
        case followed
        /// The transfer broke off. It is tried again after a pause of some seconds.
        case interrupted(reason: String, pause: Int)
        /// The server could not be asked whether it has a newer file. The one that was downloaded before is used.
        case unconfirmed(reason: String)
        /// The whole file is there, and its digest was checked if one is expected.
        case complete
    }

    /// Where the file comes from.
    package var address: String
    /// Bytes that are there, those of an earlier attempt included.
    package var received: Int
    /// Bytes of the whole file; nil if the server does not tell.
    package var total: Int?
    package var state: State

    package init(address: String, received: Int, total: Int?, state: State) {
        self.address = address
        self.received = received
        self.total = total
        self.state = state
    }

    /// Receives the progress of a download, in order, several times a second.
    package typealias Report = @Sendable (TransferProgress) -> Void
}
