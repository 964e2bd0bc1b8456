import HostModel
import HostOS

/// The server of one mount by virtiofs: virtiofsd, confined to the directory. It works in the memory of the machine, which
/// connects to it when it is made, and ends with the machine.
extension MountServer {
    /// Starts the server.
    /// - Parameters:
    ///   - socket: the path on which the server waits for the machine. A file there is replaced.
    ///   - work: for what a hung file system can hold up.
    /// - Returns: the process that confines the server, and ends with it.
    /// - Throws: `HostError` for what this host lacks, and if the location cannot be used.
    package func startVirtioFS(on socket: String, _ work: DiskWork) async throws -> ProcessIdentity {
        let server = virtioFS(try await Self.virtiofsd(in: searchPath))
        let listener: Descriptor
        do {
            try Files.remove(socket)
            listener = try UnixSocket.listen(path: socket)
        } catch {
            throw HostError(.cannotCreate, "cannot listen on \(socket): \(error.reason)")
        }
        return try await server.start(
            stream: nil, descriptors: [listener.number], makesLocation: true, searchPath: searchPath, work)
    }

    package func virtioFS(_ program: String) -> ConfinedServer {
        ConfinedServer(
            mount: mount, program: program,
            arguments: [
                "--fd=\(ConfinedServer.firstDescriptor)", "--shared-dir=\(ConfinedServer.root)", "--sandbox=none",
                // The server cannot act for other accounts, so all that the guest makes belongs to this one.
                "--translate-uid=squash-guest:0:\(HostProcess.uid):\(UInt32.max)",
                "--translate-gid=squash-guest:0:\(HostProcess.gid):\(UInt32.max)", "--log-level=error",
            ],
            // It opens files by the names of its descriptors.
            environment: ["--proc", "/proc"], filter: .sharedMemory, log: log)
    }

    /// Where distributions have it: Debian and Fedora; Arch; SUSE.
    private static let virtiofsds = ["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd"]

    private static func virtiofsd(in searchPath: String?) async throws -> String {
        guard HostProcess.uid != 0 else {
            throw HostError(.unavailable, "virtiofsd serves root's instances only with nearly all of root's rights")
        }
        let candidates = virtiofsds + [Tool.path(of: "virtiofsd", in: searchPath)].compactMap { $0 }
        let found = candidates.filter { Files.kind($0) == .regular }
        for path in found where knowsTranslation(help: try await Tool(path, ["--help"]).run().output) { return path }
        throw HostError(
            .unavailable,
            found.isEmpty
                ? "virtiofsd is not installed"
                : "\(found.joined(separator: ", ")) is too old: it does not know --translate-uid",
            hint: "install virtiofsd 1.13 or later; Debian has it since 13")
    }

    /// Whether it is a virtiofsd that can give what the guest makes to one account. The one of QEMU before 8.0 cannot.
    package static func knowsTranslation(help: String) -> Bool { help.contains("--translate-uid") }
}
