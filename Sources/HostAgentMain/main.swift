import Foundation
import HostCommands
import HostOS

// The only place where the parts meet: the commands get an agent, the agent gets a driver.
HostProcess.ignoreBrokenPipes()
HostProcess.keepFilesPrivate()
EventLoops.keepSmall()

let status = await CommandContext.$current.withValue(Composition.context(ProcessInfo.processInfo.environment)) {
    await HostAgentCommand.run(Array(CommandLine.arguments.dropFirst()))
}
HostProcess.exit(status)
