import ArgumentParser
import HostOS
import InstanceOperations

/// The options for showing the result of a verb.
struct OutputOptions: ParsableArguments {
    @Flag(help: "Show the result as one line of JSON.")
    var json = false

    @Flag(help: "Only report what would be done.")
    var dryRun = false

    /// - Parameter text: the result for people.
    func show(_ result: some Encodable, _ text: String) throws {
        StandardStreams.output(json ? try JSONText.line(result) : text)
    }

    func show(plan: OperationPlan) throws {
        let steps = plan.steps.isEmpty ? "nothing is to be done" : plan.steps.joined(separator: "; ")
        try show(plan, "\(plan.name): \(steps)\n")
    }

    /// The flags as arguments for another hostagent process.
    var words: [String] { (json ? ["--json"] : []) + (dryRun ? ["--dry-run"] : []) }
}
