import HostModel
import HostOS

/// The server of one mount: OpenSSH's sftp-server, which sees nothing of this host but the mount's directory.
///
/// The guest's end is not trusted: a root in the guest may send what it likes. bubblewrap (bwrap(1)) gives the server a
/// root of its own, in which the directory is `/mount`, and a filter of system calls (`ServerCallFilter`). Its standard
/// streams are the machine's port of this mount, so it ends with the machine.
package struct FileServer: Sendable {
    /// Where the server sees the directory.
    package static let root = "/mount"

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

    /// Starts the server. The program that confines it waits for its end beside it.
    /// - Parameter connection: leads to the guest. The server gets a copy of it.
    /// - Throws: `HostError` for what this host lacks, and if the location cannot be used.
    package func start(on connection: borrowing Descriptor) async throws -> ProcessIdentity {
        let bubblewrap = try Self.bubblewrap(in: searchPath)
        let server = try Self.server()
        try prepareLocation()
        guard let filter = ServerCallFilter.program() else {
            throw HostError(.unavailable, "hostagent has no filter of system calls for this kind of processor")
        }
        let libraries = try await Self.libraries(of: server)
        let account = "user:x:\(HostProcess.uid):\(HostProcess.gid)::/:/bin/false\n"
        do {
            let filterReader = try Self.reader(of: filter)
            let accountReader = try Self.reader(of: Array(account.utf8))
            let information = try Pipe()
            connection.makeBlocking()
            let process = DetachedProcess(
                executable: bubblewrap, arguments: arguments(server: server, libraries: libraries), environment: [:],
                input: .descriptor(connection.number), output: .descriptor(connection.number),
                error: .append(path: log),
                inherited: [filterReader.number, accountReader.number, information.writer.number])
            let pid = try process.spawn()
            let answer = try Self.answer(from: information.closingWriter())
            // A child has to be waited for.
            if let confiner = ProcessIdentity.of(pid: pid) { Task { await confiner.waitUntilEnded() } }
            guard let number = Self.childPID(in: answer),
                let server = ProcessIdentity.of(pid: number)
            else {
                let complaint = TextFile.tail(log, count: 300).trimmed
                throw HostError(
                    .unavailable, "the directory's server did not start" + (complaint.isEmpty ? "" : ": \(complaint)"))
            }
            return server
        } catch let error as SystemCallError {
            throw HostError(.unavailable, "cannot start \(bubblewrap): \(error.reason)")
        }
    }

    /// All that bwrap tells of the server: one JSON object, in several writes.
    private static func answer(from reader: borrowing Descriptor) throws(SystemCallError) -> String {
        var answer = ""
        while !answer.contains("}") {
            let bytes = try reader.read(subject: "pipe")
            if bytes.isEmpty { break }
            answer += String(decoding: bytes, as: UTF8.self)
        }
        return answer
    }

    /// Reads the answer of `--info-fd`, such as `{ "child-pid": 4711 }`.
    package static func childPID(in answer: String) -> Int32? {
        answer.firstMatch(of: /"child-pid": *([0-9]+)/).flatMap { Int32($0.output.1) }
    }

    /// The arguments of bwrap(1). Descriptor 3 is the filter of system calls, 4 the only entry of the user database: without
    /// one, the server does not start. The number of the server's process comes over 5.
    func arguments(server: String, libraries: [String]) -> [String] {
        var arguments = ["--unshare-ipc", "--unshare-uts", "--info-fd", "5"]
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
        arguments += ["--remount-ro", "/", "--chdir", Self.root, "--seccomp", "3", "--", server, "-e", "-l", "ERROR"]
        return arguments + (mount.isWritable ? [] : ["-R"])
    }

    /// As with Lima, a location that is missing is made.
    private func prepareLocation() throws(HostError) {
        switch Files.kind(mount.location) {
        case .directory: return
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

    /// Why this host cannot serve directories; nil if it can.
    package static func obstacle(searchPath: String?) -> HostError? {
        do throws(HostError) {
            _ = try bubblewrap(in: searchPath)
            _ = try server()
            return nil
        } catch {
            return error
        }
    }

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
