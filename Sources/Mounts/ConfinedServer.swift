import HostModel
import HostOS

/// A server of one mount that sees nothing of this host but the mount's directory.
///
/// The guest's end is not trusted: a root in the guest may send what it likes. bubblewrap (bwrap(1)) gives the server a
/// root of its own, in which the directory is `/mount`, and a filter of system calls (`ServerCallFilter`).
package struct ConfinedServer {
    /// Where the server sees the directory.
    static let root = "/mount"
    /// The first descriptor of those that the server gets beside its standard streams. The one before is the filter's.
    static let firstDescriptor = 4

    let mount: Mount
    let program: String
    /// The arguments of the program.
    let arguments: [String]
    /// What the program needs beside its libraries and the directory, as options of bwrap(1).
    let environment: [String]
    let filter: ServerCallFilter
    /// The server's complaints go there. That it has this file open shows whose server it is.
    let log: String

    /// Starts the server.
    /// - Parameters:
    ///   - stream: the server's standard input and output; nil for none.
    ///   - descriptors: the server gets copies of them, from `firstDescriptor` on.
    ///   - makesLocation: whether a location that is missing is made.
    ///   - searchPath: the value of `PATH`.
    ///   - work: for what a hung file system can hold up.
    /// - Returns: the process that confines the server, and ends with it. The server itself may be undumpable
    ///   (prctl(2), PR_SET_DUMPABLE), and then cannot be looked into.
    /// - Throws: `HostError` for what this host lacks, and if the location cannot be used.
    func start(
        stream: Int32?, descriptors: [Int32], makesLocation: Bool, searchPath: String?, _ work: DiskWork
    ) async throws -> ProcessIdentity {
        let bubblewrap = try Self.bubblewrap(in: searchPath)
        try await work.run { [mount] () throws(HostError) in
            try Self.prepare(mount.location, makesIt: makesLocation)
        }
        guard let filter = filter.program() else {
            throw HostError(.unavailable, "hostagent has no filter of system calls for this kind of processor")
        }
        let libraries = try await Self.libraries(of: program)
        do {
            let filterReader = try Self.reader(of: filter)
            let process = DetachedProcess(
                executable: bubblewrap, arguments: confinement(libraries: libraries), environment: [:],
                input: stream.map { .descriptor($0) } ?? .null, output: stream.map { .descriptor($0) } ?? .null,
                error: .append(path: log), inherited: [filterReader.number] + descriptors)
            let pid = try process.spawn()
            guard let identity = ProcessIdentity.of(pid: pid) else {
                throw HostError(.failed, "the directory's server \(ProcessIdentity.killedChild(pid))")
            }
            return identity
        } catch let error as SystemCallError {
            throw HostError(.unavailable, "cannot start \(bubblewrap): \(error.reason)")
        }
    }

    /// The arguments of bwrap(1). The server is the first process of its namespace, and sees no other.
    package func confinement(libraries: [String]) -> [String] {
        var arguments = ["--unshare-ipc", "--unshare-uts", "--unshare-pid", "--as-pid-1"]
        if HostProcess.uid == 0 {
            // What a root on the host may do with files.
            arguments += ["--cap-drop", "ALL"]
            for capability in ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"] {
                arguments += ["--cap-add", capability]
            }
        }
        for file in libraries + [program] { arguments += ["--ro-bind", file, file] }
        arguments += ["--dev-bind", "/dev/null", "/dev/null"] + environment
        arguments += [mount.isWritable ? "--bind" : "--ro-bind", mount.location, Self.root]
        arguments += ["--remount-ro", "/", "--chdir", Self.root]
        return arguments + ["--seccomp", "\(Self.firstDescriptor - 1)", "--", program] + self.arguments
    }

    private static func prepare(_ location: String, makesIt: Bool) throws(HostError) {
        switch Files.kind(location) {
        case .directory: return
        case nil where !makesIt: throw HostError(.unavailable, "\(location) is not there any more")
        case nil:
            do {
                try Files.makeDirectory(location)
            } catch {
                throw HostError(.cannotCreate, "cannot make the directory \(location): \(error.reason)")
            }
        default:
            throw HostError(.unavailable, "\(location) is not a directory")
        }
    }

    /// A pipe from which these bytes can be read. They are few enough for the pipe's buffer (pipe(7)).
    static func reader(of bytes: [UInt8]) throws(SystemCallError) -> Descriptor {
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

    /// The files that the server's program is loaded with (ldd(1)): the libraries and the loader.
    private static func libraries(of program: String) async throws -> [String] {
        let said = try await Tool("ldd", [program]).run()
        guard said.succeeded else {
            throw HostError(.unavailable, "ldd does not say which libraries \(program) needs: \(said.complaint)")
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
