import ArgumentParser
import Foundation
import HostModel
import HostOS
import InstanceOperations
import InstanceStore
import ServiceManagers

/// `hostagent owner`: work that root delegates to a process of an instance's owner.
struct OwnerWork: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "owner", abstract: "For root: works in the directory of this account.", shouldDisplay: false,
        subcommands: [
            FactsCommand.self, SetKeepAlive.self, Restore.self, Tidy.self, ForgetFailures.self, CheckDeletable.self,
        ])

    struct FactsCommand: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "facts")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let directory = try OperationContext.current.directory(instance.name)
            StandardStreams.output(try JSONText.line(RegistrationWork.facts(directory)))
        }
    }

    struct SetKeepAlive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "set-keep-alive")
        @Argument var policy: KeepAliveArgument
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let directory = try OperationContext.current.directory(instance.name)
            StandardStreams.output(try JSONText.line(RegistrationWork.setKeepAlive(policy.policy, directory)))
        }
    }

    struct Restore: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "restore")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let directory = try OperationContext.current.directory(instance.name)
            let input = StandardStreams.input(limit: 16 << 20) ?? []
            try RegistrationWork.restore(
                try JSONDecoder().decode(RegistrationWork.Before.self, from: Data(input)), directory)
        }
    }

    struct Tidy: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "tidy")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            let context = OperationContext.current
            try await RegistrationWork.tidy(try context.directory(instance.name), context)
        }
    }

    struct ForgetFailures: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "forget-failures")
        @OptionGroup var instance: InstanceArgument

        func run() async throws {
            RestartHistory.forget(try OperationContext.current.directory(instance.name))
        }
    }

    struct CheckDeletable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "check-deletable")
        @OptionGroup var instance: InstanceArgument
        @Flag var force = false

        func run() async throws {
            let context = OperationContext.current
            let directory = try context.directory(instance.name)
            if try DeleteOperation.isRunning(directory, context), !force {
                throw DeleteOperation.runningError(directory.name)
            }
        }
    }
}
