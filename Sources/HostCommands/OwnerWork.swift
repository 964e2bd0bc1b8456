import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceStore
import ServiceManagement

/// What registering an instance needs to know of its files, and what it changes in them. Done in this process for its own
/// account; for another account by a process of that account (`OwnerBoundary`).
enum RegistrationWork {
    /// What a registration is rendered from.
    struct Facts: Codable, Sendable {
        var stopGrace: Int
        var keepAlive: KeepAlive
        var after: [String]
        var before: [String]
        var needs: Registration.Needs
    }

    /// What a file held before it was changed; without text it did not exist.
    struct Before: Codable, Sendable {
        var isChanged: Bool
        var text: String?
    }

    static func facts(_ directory: InstanceDirectory) throws -> Facts {
        let settings = try Instance(directory).settings
        // A start that could not bind its sockets should be known now.
        try directory.checkSocketPaths()
        return Facts(
            stopGrace: settings.stopGrace, keepAlive: settings.keepAlive, after: settings.after.map(\.text),
            before: settings.before.map(\.text), needs: Registration.Needs())
    }

    /// The agent asks its settings for the policy, so they have to agree with the manager's.
    static func setKeepAlive(_ policy: KeepAlive, _ directory: InstanceDirectory) throws(HostError) -> Before {
        let path = directory.settings
        do {
            let text = Files.kind(path) == nil ? nil : try TextFile.read(path)
            guard try Settings.load(text ?? "", file: path).keepAlive != policy else {
                return Before(isChanged: false, text: nil)
            }
            try TextFile.replace(path, with: Settings.setting("keepAlive", to: policy.rawValue, in: text ?? ""))
            return Before(isChanged: true, text: text)
        } catch {
            throw (error as? HostError) ?? HostError(.cannotCreate, "cannot write \(path): \(error)")
        }
    }

    static func restore(_ before: Before, _ directory: InstanceDirectory) throws {
        guard before.isChanged else { return }
        if let text = before.text {
            try TextFile.replace(directory.settings, with: text)
        } else {
            try Files.remove(directory.settings)
        }
    }

    /// Ends a guest that the manager left when it stopped, and forgets the failures that it counted.
    static func tidy(_ directory: InstanceDirectory, _ context: CommandContext) async throws {
        try await Stopper(context: context, directory: directory).reap()
        RestartHistory.forget(directory)
    }
}

/// `hostagent owner`: what root has a process of an instance's owner do.
struct OwnerWork: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "owner", abstract: "For root: works in the directory of this account.", shouldDisplay: false,
        subcommands: [FactsCommand.self, SetKeepAlive.self, Restore.self, Tidy.self, CheckDeletable.self])

    struct FactsCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "facts")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let directory = try CommandContext.current.directory(instance.name)
            StandardStreams.output(try JSONText.line(RegistrationWork.facts(directory)))
        }
    }

    struct SetKeepAlive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "set-keep-alive")
        @Argument var policy: KeepAliveArgument
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let directory = try CommandContext.current.directory(instance.name)
            StandardStreams.output(try JSONText.line(RegistrationWork.setKeepAlive(policy.policy, directory)))
        }
    }

    struct Restore: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "restore")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let directory = try CommandContext.current.directory(instance.name)
            let input = StandardStreams.input(limit: 16 << 20) ?? []
            try RegistrationWork.restore(
                try JSONDecoder().decode(RegistrationWork.Before.self, from: Data(input)), directory)
        }
    }

    struct Tidy: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "tidy")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let context = CommandContext.current
            try await RegistrationWork.tidy(try context.directory(instance.name), context)
        }
    }

    struct CheckDeletable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "check-deletable")
        @OptionGroup var instance: InstanceArgument
        @Flag var force = false

        func run() async throws {
            let context = CommandContext.current
            let directory = try context.directory(instance.name)
            if try Delete.checkDeletable(directory, context), !force { throw Delete.isRunning(directory.name) }
        }
    }
}
