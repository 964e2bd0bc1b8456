import ArgumentParser
import HostModel
import HostOS
import InstanceStore
import ServiceManagement

struct AutostartDisable: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disable",
        abstract: "Removes an instance's registration, of login, boot or both. Stops it where the manager runs it.")

    @OptionGroup var instance: InstanceArgument

    func run() async throws {
        let context = CommandContext.current
        // A registration may be all that is left of an instance.
        let name = try InstanceName(instance.name)
        let removed = try await Self.unregister(name, context)
        StandardStreams.output(removed ? "\(name) is not registered any more\n" : "\(name) was not registered\n")
    }

    /// - Returns: false when there was nothing to remove.
    static func unregister(_ name: InstanceName, _ context: CommandContext) async throws -> Bool {
        let found = context.manager.registrations(of: name)
        for registration in found where registration.isOurs {
            try await context.manager.disable(registration)
            // What the manager stopped may have left its guest; only that is looked for, and nothing started by hand.
            if let directory = try? context.home().existing(name) {
                try await Stopper(context: context, directory: directory).reap()
            }
        }
        if let foreign = found.first(where: { !$0.isOurs }) {
            StandardStreams.error("hostagent: note: \(foreign.file) was not made by hostagent and is left alone\n")
        }
        return found.contains(where: \.isOurs)
    }
}
