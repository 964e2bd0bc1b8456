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
        let home = try context.home()
        let found = context.manager.registrations(of: name)
        let mine = found.filter { $0.isFor(home: home.path, of: context.account) }
        for registration in mine {
            try await context.manager.disable(registration)
            // What the manager stopped may have left its guest.
            guard let directory = try? home.existing(name) else { continue }
            if let owner = try OwnerBoundary(name.text, context) {
                try await owner.perform(["owner", "tidy", name.text])
            } else {
                try await RegistrationWork.tidy(directory, context)
            }
        }
        for other in found where !mine.contains(other) {
            let whose = other.isOurs ? "is for another instance of that name" : "was not made by hostagent"
            StandardStreams.error("hostagent: note: \(other.file) \(whose) and is left alone\n")
        }
        return !mine.isEmpty
    }
}
