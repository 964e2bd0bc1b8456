import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Copy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Copies files between the host and guests.",
        discussion: "A file of a guest is written as INSTANCE:PATH. Paths without a slash begin at the user's home.",
        aliases: ["cp"])

    enum Backend: String, ExpressibleByArgument, CaseIterable { case auto, scp, rsync }

    @Flag(name: .shortAndLong, help: "Copy directories with what is in them.") var recursive = false
    @Flag(name: .shortAndLong, help: "Show what scp or rsync say.") var verbose = false
    @Option(help: "scp, rsync, or auto, which is scp.") var backend = Backend.auto
    @Argument(help: ArgumentHelp("The files.", valueName: "source")) var paths: [String]

    func validate() throws {
        if paths.count < 2 { throw ValidationError("copy needs at least one source and a target") }
    }

    func run() async throws {
        let context = OperationContext.current
        let places = try paths.map { try CopyPlace($0, context) }
        var configurations: [String] = []
        for case .guest(let directory, _) in places {
            if let owner = try OwnerBoundary(directory.name.text, context) {
                throw owner.refuse("copy files", "copy …")
            }
            try await AgentClient.requireUsable(directory)
            if !configurations.contains(directory.sshConfiguration) {
                configurations.append(directory.sshConfiguration)
            }
        }
        guard !configurations.isEmpty else {
            throw HostError(.usage, "none of the paths is in a guest", hint: "write a guest's file as INSTANCE:PATH")
        }
        // scp reads one configuration. For two guests, one is made that includes both.
        let file = context.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp"
        let joined = file + "/" + TemporaryName.make()
        defer { try? Files.remove(joined) }
        let configuration = configurations.count == 1 ? configurations[0] : joined
        if configurations.count > 1 {
            try TextFile.replace(joined, with: configurations.map { "Include \"\($0)\"\n" }.joined())
        }
        let (program, arguments) = try command(places, configuration)
        guard let path = Tool.path(of: program, in: context.environment["PATH"]) else {
            throw HostError(
                .unavailable, "\(program) is not in PATH",
                hint: HostPackages.install(program == "scp" ? "openssh-client" : program, homebrew: program))
        }
        let status = try HostProcess.runInteractively(path, arguments)
        guard status == 0 else {
            throw HostError(.failed, "\(program) ended with status \(status); not everything was copied")
        }
    }

    private func command(_ places: [CopyPlace], _ configuration: String) throws(HostError) -> (String, [String]) {
        let names = places.map(\.forProgram)
        if backend == .rsync {
            guard places.filter(\.isGuest).count == 1 || !(places.last?.isGuest ?? false) else {
                throw HostError(.usage, "rsync cannot copy from guest to guest", hint: "use --backend=scp")
            }
            let flags = ["-a"] + (recursive ? [] : ["--no-recursive"]) + (verbose ? ["-v"] : ["-q"])
            // rsync splits this text at spaces, and understands quotation marks.
            return ("rsync", flags + ["-e", "ssh -F '\(configuration)'", "--"] + names)
        }
        let flags = (recursive ? ["-r"] : []) + (verbose ? ["-v"] : ["-q"])
        let betweenGuests = places.filter(\.isGuest).count > 1 ? ["-3"] : []
        return ("scp", ["-F", configuration] + flags + betweenGuests + ["--"] + names)
    }
}

/// One path of `copy`.
enum CopyPlace {
    case host(String)
    case guest(InstanceDirectory, path: String)

    /// - Throws: `HostError` if the text names an instance that does not exist.
    init(_ text: String, _ context: OperationContext) throws(HostError) {
        guard let colon = text.firstIndex(of: ":"), !text[..<colon].contains("/") else {
            self = .host(text)
            return
        }
        let path = String(text[text.index(after: colon)...])
        self = .guest(try context.directory(String(text[..<colon])), path: path)
    }

    var isGuest: Bool { if case .guest = self { true } else { false } }

    /// As scp and rsync read it. A path of the host may look like an option or a remote file, so it begins with a slash or
    /// a dot.
    var forProgram: String {
        switch self {
        case .host(let path): path.hasPrefix("/") || path.hasPrefix(".") ? path : "./" + path
        case .guest(let directory, let path): "lima-\(directory.name):\(path.isEmpty ? "." : path)"
        }
    }
}
