import Foundation
import HostCommands
import HostOS

// The only place that connects the modules: the commands get an agent, and the agent gets a driver.
HostProcess.ignoreBrokenPipes()
HostProcess.keepFilesPrivate()
HostProcess.silenceThreadPriorityComplaint()
EventLoops.keepSmall()

// Medium priority is deliberate. Top-level code that awaits has a higher priority. libdispatch then tries to raise the
// priority of its threads, is not permitted to, and reports that on standard error at every start.
Task.detached(priority: .medium) {
    let context = Composition.context(ProcessInfo.processInfo.environment)
    let status = await CurrentContext.$value.withValue(context) {
        await HostAgentCommand.run(
            program: CommandLine.arguments.first ?? "", Array(CommandLine.arguments.dropFirst()))
    }
    HostProcess.exit(status)
}
// dispatchMain() is not used here: its main thread ends in a sigsuspend(2) that lets every signal through. A signal
// that was blocked while this program replaced an older one would end it before its handlers are installed.
HostProcess.parkMainThread()
