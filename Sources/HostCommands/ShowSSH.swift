import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct ShowSSH: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show-ssh", abstract: "Prints how ssh reaches an instance's guest.")

    enum Format: String, ExpressibleByArgument, CaseIterable { case cmd, args, options, config }

    @Option(name: .shortAndLong, help: "cmd, args, options or config.") var format = Format.cmd
    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        if let owner = try OwnerBoundary(instance.name, context) {
            StandardStreams.output(try await owner.perform(["show-ssh", "--format", format.rawValue, instance.name]))
            return
        }
        guard let text = try TextFile.configuration(directory.sshConfiguration) else {
            throw HostError(
                .unavailable, "the instance \"\(instance.name)\" has never been started",
                hint: "hostagent start \(instance.name)")
        }
        let options = Self.options(of: text)
        let host = "lima-\(instance.name)"
        switch format {
        case .config: StandardStreams.output(text)
        case .options: StandardStreams.output(options.map { "\($0.key)=\(Self.word($0.value))\n" }.joined())
        case .args:
            StandardStreams.output(
                options.map { "-o \(Self.word("\($0.key)=\($0.value)"))" }.joined(separator: " ") + "\n")
        case .cmd: StandardStreams.output("ssh -F \(Self.word(directory.sshConfiguration)) \(host)\n")
        }
    }

    /// The options of the file's only host.
    private static func options(of text: String) -> [(key: String, value: String)] {
        text.split(separator: "\n").filter { $0.hasPrefix("  ") }.compactMap { line in
            let parts = String(line).trimmed.split(separator: " ", maxSplits: 1)
            return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
        }
    }

    private static func word(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy {
            48...57 ~= $0 || 65...90 ~= $0 || 97...122 ~= $0 || "/._-=@:".utf8.contains($0)
        }
        return isPlain ? text : ShellWord.quoted(text)
    }
}
