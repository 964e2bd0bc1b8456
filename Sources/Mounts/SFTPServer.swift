import HostModel
import HostOS

/// The server of one mount by reverse-sshfs: OpenSSH's sftp-server, confined to the directory. Its standard streams are the
/// machine's port of this mount, so it ends with the machine.
extension MountServer {
    /// Starts the server.
    /// - Parameters:
    ///   - connection: leads to the guest. The server gets a copy of it.
    ///   - makesLocation: whether a location that is missing is made.
    ///   - work: for what a hung file system can hold up.
    /// - Returns: the process that confines the server, and ends with it.
    /// - Throws: `HostError` for what this host lacks, and if the location cannot be used.
    package func startSFTP(
        on connection: borrowing Descriptor, makesLocation: Bool, _ work: DiskWork
    ) async throws -> ProcessIdentity {
        let server = sftp(try Self.sftpServer())
        let account = try ConfinedServer.reader(of: Array(Self.account.utf8))
        connection.makeBlocking()
        return try await server.start(
            stream: connection.number, descriptors: [account.number], makesLocation: makesLocation,
            searchPath: searchPath, work)
    }

    /// The only entry of the user database. Without one, the server does not start.
    private static var account: String { "user:x:\(HostProcess.uid):\(HostProcess.gid)::/:/bin/false\n" }

    package func sftp(_ program: String) -> ConfinedServer {
        ConfinedServer(
            mount: mount, program: program,
            // The guest could fill the log with its mistakes.
            arguments: ["-e", "-l", "FATAL"] + (mount.isWritable ? [] : ["-R"]),
            environment: ["--file", "\(ConfinedServer.firstDescriptor)", "/etc/passwd"], filter: .streams, log: log)
    }

    /// Where distributions have OpenSSH's server: Debian, Fedora, Arch and SUSE.
    private static let sftpServers = [
        "/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
        "/usr/libexec/sftp-server",
    ]

    private static func sftpServer() throws(HostError) -> String {
        guard let path = sftpServers.first(where: { Files.kind($0) == .regular }) else {
            throw HostError(
                .unavailable, "mounts need OpenSSH's sftp-server, and it is not installed",
                hint: HostPackages.install("openssh-sftp-server", homebrew: nil))
        }
        return path
    }
}
