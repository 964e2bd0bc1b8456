import Foundation
import HostCommands
import HostOS

// The only place where the parts meet: the commands get an agent, the agent gets a driver.
HostProcess.ignoreBrokenPipes()
HostProcess.keepFilesPrivate()
HostProcess.silenceThreadPriorityComplaint()
EventLoops.keepSmall()

// Of medium priority, on purpose: top-level code that awaits has a higher one, for which libdispatch wants to raise
// its threads' priority, may not, and says so on standard error at every start.
Task.detached(priority: .medium) {
    let context = Composition.context(ProcessInfo.processInfo.environment)
    let status = await CommandContext.$current.withValue(context) {
        await HostAgentCommand.run(Array(CommandLine.arguments.dropFirst()))
    }
    HostProcess.exit(status)
}
// Not dispatchMain(), whose main thread ends in a sigsuspend(2) that lets every signal through: one that was blocked while
// this program took an older one's place would end it before its handlers stand.
HostProcess.parkMainThread()
