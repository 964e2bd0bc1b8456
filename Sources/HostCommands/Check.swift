import ArgumentParser
import InstanceOperations
import InstanceStore

/// An agent runs this command of the program that is to replace it.
struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "For agents: reports whether this program could run an instance.", shouldDisplay: false)

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        let context = OperationContext.current
        let directory = try context.directory(instance.name)
        try directory.checkSocketPaths()
        try context.check(try Instance(directory))
    }
}
