import HostModel
import HostOS

/// The files of an instance that its QEMU guest uses, and that are used to find it again.
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
    /// The socket of the process that has the machine's network, and what that complains of. There is none by default.
    package var networkSocket: String { "\(directory)/net.sock" }
    package var networkLogName: String { "net.log" }
    /// The complaints of that process.
    package var networkLog: String { "\(directory)/\(networkLogName)" }

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

    /// The sockets of the guest, with their second names. A guest without an agent is reached by them.
    /// Those of the ports for mounts that the machine does not have are missing.
    var sockets: [HiddenSocketName] {
        ([qmpSocket, channelSocket] + (0..<Mount.maximumPorts).map { "\(directory)/m\($0).sock" })
            .map(HiddenSocketName.init(of:))
    }
}
