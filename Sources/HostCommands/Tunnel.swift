import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Tunnel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Opens a SOCKS proxy of this host through which programs are in the guest's network.",
        discussion: "It is part of the guest's shared SSH connection: no process is added, and it ends with the guest.")

    enum Kind: String, ExpressibleByArgument, CaseIterable { case socks }

    @Argument(help: "The instance's name.", completion: .instanceNames)
    var name = "default"

    @Option(help: "The only type is socks.")
    var type = Kind.socks

    @Option(help: "The port of 127.0.0.1; by default a free one.")
    var socksPort: Int?

    @Flag(help: "Close the proxy on the given port again.")
    var close = false

    func validate() throws {
        if let socksPort, !(1...65535).contains(socksPort) {
            throw ValidationError("--socks-port must be 1 to 65535, not \(socksPort)")
        }
        if close, socksPort == nil { throw ValidationError("--close needs the --socks-port to close") }
    }

    /// The shared connection is made when the guest has become ready, and takes the time of a login.
    private func hasMaster(_ directory: InstanceDirectory) async throws -> Bool {
        // The configuration names the connection if there can be one.
        guard let configuration = try? TextFile.read(directory.sshConfiguration), configuration.contains("ControlPath ")
        else { return false }
        let isThere = try await withTimeLimit(.seconds(20)) {
            let watch = DirectoryWatch(path: directory.path, of: .arrivals)
            if Files.kind(directory.sshMasterSocket) == .socket { return true }
            for await _ in watch.changes where Files.kind(directory.sshMasterSocket) == .socket { return true }
            return false
        }
        return isThere ?? false
    }

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(name)
        if let owner = try OwnerBoundary(name, context) { throw owner.refuse("open a tunnel", "tunnel \(name)") }
        try await AgentClient.requireUsable(directory)
        guard try await hasMaster(directory) else {
            throw HostError(
                .unavailable, "the guest of \"\(name)\" has no shared SSH connection",
                hint: "use: ssh -F \(directory.sshConfiguration) -N -D PORT lima-\(name)")
        }
        let port: Int
        do {
            port = try socksPort ?? LoopbackPort.free()
        } catch {
            throw HostError(.unavailable, "no port of 127.0.0.1 is free: \(error)")
        }
        // ssh itself would not fail if the proxy is there already.
        guard close || LoopbackPort.isFree(port) else {
            throw HostError(
                .unavailable, "the port \(port) of 127.0.0.1 is in use",
                hint: "leave --socks-port out to get a free one")
        }
        let result = try await Tool(
            "ssh",
            [
                "-F", directory.sshConfiguration, "-O", close ? "cancel" : "forward", "-D", "127.0.0.1:\(port)",
                "lima-\(name)",
            ]
        ).run()
        guard result.succeeded else {
            throw HostError(
                .unavailable, "the port \(port) cannot be \(close ? "closed" : "opened"): \(result.complaint)")
        }
        StandardStreams.output(
            close
                ? "closed the proxy on 127.0.0.1:\(port)\n"
                : """
                a SOCKS proxy into the network of \(name) is on 127.0.0.1:\(port); it ends with the guest
                use it with: ALL_PROXY=socks5h://127.0.0.1:\(port)
                close it with: hostagent tunnel \(name) --close --socks-port \(port)

                """)
    }
}
