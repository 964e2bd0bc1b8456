import HostModel
import HostOS
import InstanceOperations
import InstanceStore

/// Asks a person at a terminal what to start, if nothing was named and there is no instance `default`.
struct StartMenu {
    private let instances: [String]
    private let templates: [String]

    /// - Returns: nil if there is nothing to ask: `default` exists, or nobody can answer.
    init?(_ context: OperationContext) throws {
        guard context.mayAsk, HostProcess.isTerminal(0), HostProcess.isTerminal(2) else { return nil }
        let home = try context.home()
        instances = try home.instances().map(\.name.text)
        guard !instances.contains("default") else { return nil }
        templates =
            TemplateStore(home: home, environment: context.environment, provider: context.sourceFiles).names
    }

    private var choices: [String] { instances + templates }

    /// - Throws: `HostError` with `.unavailable` if nothing is chosen.
    func choose() throws(HostError) -> String {
        let width = String(choices.count).count
        let lines = choices.enumerated().map { index, name in
            let number = String(index + 1)
            return String(repeating: " ", count: width - number.count + 2) + number + "  " + name
        }
        let made = instances.isEmpty ? "" : "instances:\n" + lines[..<instances.count].joined(separator: "\n") + "\n"
        StandardStreams.error(
            "there is no instance \"default\"\n\(made)templates, to make one from:\n"
                + lines[instances.count...].joined(separator: "\n") + "\nstart which one? number or name: ")
        let answer = StandardStreams.line()?.trimmed ?? ""
        if let number = Int(answer), choices.indices.contains(number - 1) { return choices[number - 1] }
        if choices.contains(answer) { return answer }
        throw HostError(
            .unavailable, answer.isEmpty ? "nothing was chosen" : "\(InstanceName.quoted(answer)) is not in the list",
            hint: "hostagent start NAME, or hostagent start TEMPLATE")
    }
}
