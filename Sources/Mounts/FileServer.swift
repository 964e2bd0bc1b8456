import HostModel
import HostOS

/// The server of one mount: OpenSSH's sftp-server, which sees nothing of this host but the mount's directory.
///
/// The guest's end is not trusted: a root in the guest may send what it likes. bubblewrap (bwrap(1)) gives the server a
/// root of its own, in which the directory is `/mount`, and a filter of system calls (`ServerCallFilter`). Its standard
/// streams are the machine's port of this mount, so it ends with the machine.
package struct FileServer: Sendable {
    /// Where the server sees the directory.
    private static let root = "/mount"

    private let mount: Mount
    /// The server's complaints go there. That it has this file open shows whose server it is.
    private let log: String
    private let searchPath: String?

    /// - Parameter searchPath: the value of `PATH`.
    package init(_ mount: Mount, log: String, searchPath: String?) {
        self.mount = mount
        self.log = log
        self.searchPath = searchPath
    }

    /// Starts the server.
    /// - Parameters:
    ///   - connection: leads to the guest. The server gets a copy of it.
    ///   - makesLocation: whether a location that is missing is made.
    ///   - work: for what a hung file system can hold up.
    /// - Returns: the process that confines the server, and ends with it. The server itself cannot be looked into, because
    ///   it makes itself undumpable (prctl(2), PR_SET_DUMPABLE).
    /// - Throws: `HostError` for what this host lacks, and if the location cannot be used.
    package func start(
        on connection: borrowing Descriptor, makesLocation: Bool, _ work: DiskWork
    ) async throws -> ProcessIdentity {
        let bubblewrap = try Self.bubblewrap(in: searchPath)
        let server = try Self.server()
        try await work.run { [self] () throws(HostError) in try prepareLocation(makesIt: makesLocation) }
        guard let filter = ServerCallFilter.program() else {
            throw HostError(.unavailable, "hostagent has no filter of system calls for this kind of processor")
        }
        let libraries = try await Self.libraries(of: server)
        let account = "user:x:\(HostProcess.uid):\(HostProcess.gid)::/:/bin/false\n"
        do {
            let filterReader = try Self.reader(of: filter)
            let accountReader = try Self.reader(of: Array(account.utf8))
            connection.makeBlocking()
            let process = DetachedProcess(
                executable: bubblewrap, arguments: arguments(server: server, libraries: libraries), environment: [:],
                input: .descriptor(connection.number), output: .descriptor(connection.number),
                error: .append(path: log), inherited: [filterReader.number, accountReader.number])
            let pid = try process.spawn()
            guard let identity = ProcessIdentity.of(pid: pid) else {
                throw HostError(.failed, "the directory's server \(ProcessIdentity.killedChild(pid))")
            }
            return identity
        } catch let error as SystemCallError {
            throw HostError(.unavailable, "cannot start \(bubblewrap): \(error.reason)")
        }
    }

    /// The arguments of bwrap(1). Descriptor 3 is the filter of system calls, 4 the only entry of the user database: without
    /// one, the server does not start. The server is the first process of its namespace, and sees no other.
    package func arguments(server: String, libraries: [String]) -> [String] {
        var arguments = ["--unshare-ipc", "--unshare-uts", "--unshare-pid", "--as-pid-1"]
        if HostProcess.uid == 0 {
            // What a root on the host may do with files.
            arguments += ["--cap-drop", "ALL"]
            for capability in ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"] {
                arguments += ["--cap-add", capability]
            }
        }
        for file in libraries + [server] { arguments += ["--ro-bind", file, file] }
        arguments += ["--dev-bind", "/dev/null", "/dev/null", "--file", "4", "/etc/passwd"]
        arguments += [mount.isWritable ? "--bind" : "--ro-bind", mount.location, Self.root]
        arguments += ["--remount-ro", "/", "--chdir", Self.root, "--seccomp", "3", "--", server, "-e"]
        // The guest could fill the log with its mistakes.
        arguments += ["-l", "FATAL"]
        return arguments + (mount.isWritable ? [] : ["-R"])
    }

    private func prepareLocation(makesIt: Bool) throws(HostError) {
        switch Files.kind(mount.location) {
        case .directory: return
        case nil where !makesIt: throw HostError(.unavailable, "\(mount.location) is not there any more")
        case nil:
            do {
                try Files.makeDirectory(mount.location)
            } catch {
                throw HostError(.cannotCreate, "cannot make the directory \(mount.location): \(error.reason)")
            }
        default:
            throw HostError(.unavailable, "\(mount.location) is not a directory")
        }
    }

    /// A pipe from which these bytes can be read. They are few enough for the pipe's buffer (pipe(7)).
    private static func reader(of bytes: [UInt8]) throws(SystemCallError) -> Descriptor {
        let pipe = try Pipe()
        try pipe.writer.write(bytes, subject: "pipe")
        return pipe.closingWriter()
    }

    // MARK: What the host has

    private static func bubblewrap(in searchPath: String?) throws(HostError) -> String {
        guard let path = Tool.path(of: "bwrap", in: searchPath) else {
            throw HostError(
                .unavailable, "mounts need bubblewrap, and bwrap is not in PATH",
                hint: HostPackages.install("bubblewrap", homebrew: nil))
        }
        return path
    }

    /// Where distributions have OpenSSH's server: Debian, Fedora, Arch and SUSE.
    private static let servers = [
        "/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server",
        "/usr/libexec/sftp-server",
    ]

    private static func server() throws(HostError) -> String {
        guard let path = servers.first(where: { Files.kind($0) == .regular }) else {
            throw HostError(
                .unavailable, "mounts need OpenSSH's sftp-server, and it is not installed",
                hint: HostPackages.install("openssh-sftp-server", homebrew: nil))
        }
        return path
    }

    /// The files that the server's program is loaded with (ldd(1)): the libraries and the loader.
    private static func libraries(of server: String) async throws -> [String] {
        let said = try await Tool("ldd", [server]).run()
        guard said.succeeded else {
            throw HostError(.unavailable, "ldd does not say which libraries \(server) needs: \(said.complaint)")
        }
        return libraries(inListing: said.output)
    }

    /// Reads lines such as `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f6e)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
    package static func libraries(inListing listing: String) -> [String] {
        listing.split(whereSeparator: \.isNewline).compactMap { line in
            let words = line.split(whereSeparator: \.isWhitespace)
            return words.first { $0.hasPrefix("/") }.map(String.init)
        }
    }
}
