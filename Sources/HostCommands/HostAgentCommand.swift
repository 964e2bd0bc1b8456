import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import LimaConfiguration

/// `hostagent`.
package struct HostAgentCommand: AsyncParsableCommand {
    package static let version = "0.2.0"

    package static let configuration = CommandConfiguration(
        commandName: "hostagent",
        abstract: "Runs Linux guests as services of this host.",
        discussion: """
            Instances are the directories under $LIMA_HOME (default ~/.lima), as in Lima. One agent \
            supervises one guest and knows whether systemd or launchd started it.
            """,
        // Programs that look for Lima read the version after "limactl version".
        version: "hostagent \(version), compatible with limactl version \(Configuration.limaVersion)",
        subcommands: [
            Create.self, Apply.self, Validate.self, Start.self, Stop.self, Restart.self, Reload.self, Upgrade.self,
            List.self,
            Info.self,
            Events.self, Watch.self, Shell.self, Copy.self, ShowSSH.self, Tunnel.self, Protect.self, Unprotect.self,
            Rename.self, Clone.self,
            FactoryReset.self, Prune.self, SnapshotCommand.self, DiskCommand.self, Template.self,
            Delete.self, Edit.self, Autostart.self, StartAtLogin.self, Doctor.self, Reap.self, Check.self,
            OwnerWork.self, Completion.self,
        ])

    package init() {}

    /// Runs the command line.
    /// - Parameter program: the path by which the program was called. Lima's names are understood.
    /// - Returns: the exit status.
    package static func run(program: String, _ arguments: [String]) async -> Int32 {
        do {
            let names = try LimaNames(program: program, arguments, OperationContext.current.environment)
            var context = OperationContext.current
            context.mayAsk = names.mayAsk
            return await CurrentContext.$value.withValue(context) { await run(names.arguments) }
        } catch {
            StandardStreams.error("hostagent: \(error)\n")
            return error.exitStatus.rawValue
        }
    }

    private static func run(_ arguments: [String]) async -> Int32 {
        do {
            var command = try parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            if let failure = StandardStreams.outputFailure { throw failure }
            return HostExitStatus.success.rawValue
        } catch let exit as Exit {
            return exit.status.rawValue
        } catch let error as HostError {
            StandardStreams.error("hostagent: \(error)\n")
            return error.exitStatus.rawValue
        } catch let error as SystemCallError {
            StandardStreams.error("hostagent: \(error)\n")
            return HostExitStatus.failure.rawValue
        } catch {
            // ArgumentParser knows the text, the stream and the status of usage errors, --help and --version.
            let text = fullMessage(for: error)
            let code = exitCode(for: error)
            if code.isSuccess { StandardStreams.output(text + "\n") } else { StandardStreams.error(text + "\n") }
            return code.rawValue
        }
    }
}

/// Ends a command with a status and no further message.
struct Exit: Error {
    let status: HostExitStatus
}

/// The argument that names one instance.
struct InstanceArgument: ParsableArguments {
    @Argument(help: "The instance's name.", completion: .instanceNames)
    var name = "default"
}
