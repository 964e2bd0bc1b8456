import HostOS

/// The files of an instance that a QEMU guest and whoever finds it use.
package struct QEMUPaths: Sendable, Equatable {
    /// The instance's directory.
    package var directory: String
    package var disk: String
    package var cidata: String
    package var serialLog: String
    package var qmpSocket: String
    package var channelSocket: String
    package var pidFile: String
    package var record: String
    /// QEMU's standard error.
    package var errorLog: String

    package init(
        directory: String, disk: String, cidata: String, serialLog: String, qmpSocket: String, channelSocket: String,
        pidFile: String, record: String, errorLog: String
    ) {
        self.directory = directory
        self.disk = disk
        self.cidata = cidata
        self.serialLog = serialLog
        self.qmpSocket = qmpSocket
        self.channelSocket = channelSocket
        self.pidFile = pidFile
        self.record = record
        self.errorLog = errorLog
    }

    /// The sockets that lead to a guest that lives without an agent, with their second names.
    var sockets: [SpareName] { [SpareName(of: qmpSocket), SpareName(of: channelSocket)] }
}
