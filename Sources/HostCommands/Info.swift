import AgentAPI
import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import LimaConfiguration

struct Info: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "Prints, as JSON, what a running instance's agent tells of itself; without a name, what this program is.")

    @Argument(help: "The instance's name.", completion: .instanceNames)
    var name: String?

    @Option(help: ArgumentHelp("Show the answers to a query instead of everything.", valueName: "query"))
    var yq: [String] = []

    func run() async throws {
        let context = OperationContext.current
        guard let name else { return try show(ProgramInfo(context)) }
        if let owner = try OwnerBoundary(name, context) {
            StandardStreams.output(try await owner.perform(["info", name] + yq.flatMap { ["--yq", $0] }))
            return
        }
        let directory = try context.directory(name)
        let info = try await AgentClient.ofRunning(directory).info()
        try info.requireAgent(of: directory)
        try show(info)
    }

    private func show(_ info: some Encodable) throws {
        var values = [try QueryValue(json: JSONText.line(info))]
        if yq.isEmpty { return _ = StandardStreams.output(try JSONText.pretty(info)) }
        for text in yq {
            let query = try Query(text)
            values = try values.flatMap { try query.results(on: $0) }
        }
        StandardStreams.output(values.map { $0.line + "\n" }.joined())
    }
}

/// What this program is and where its files are. The keys are Lima's, as far as they have a meaning here.
struct ProgramInfo: Encodable {
    struct Template: Encodable {
        var name: String
        var location: String
    }
    struct Driver: Encodable { var location: String }

    /// The version of this program.
    var version = HostAgentCommand.version
    /// The version of Lima whose files it understands.
    var limaVersion = Configuration.limaVersion
    var templates: [Template]
    var defaultTemplate = "template:default"
    var limaHome: String
    var vmTypes = ["qemu"]
    var vmTypesEx = ["qemu": Driver(location: "internal")]
    var shellEnvBlock = ShellEnvironment.blockedByDefault
    var hostOS = HostProcess.operatingSystem
    var hostArch = Architecture.host.rawValue
    var identityFile: String

    init(_ context: OperationContext) throws {
        let home = try context.home()
        let store = TemplateStore(home: home, environment: context.environment, provider: context.sourceFiles)
        templates = store.names.map { Template(name: $0, location: "template:\($0)") }
        limaHome = home.path
        identityFile = home.configurationDirectory + "/user"
    }
}
