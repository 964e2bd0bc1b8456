import Foundation
import HostOS
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle

// The references against which bench/run measures the agent:
//   hello SOCKET       a Hummingbird server that says hello on a Unix socket, and does nothing else
//   sleep              a Swift program that sleeps
//   agent DIRECTORY    holds an instance's lock and answers /v1/info, without a guest: `list` cannot tell it from an agent
NIOSingletons.groupLoopCountSuggestion = 1
HostProcess.keepFilesPrivate()

func serve(_ socket: String, _ body: @escaping @Sendable () -> String, ready: @escaping @Sendable () -> Void)
    async throws
{
    let logger = Logger(label: "reference") { _ in SwiftLogNoOpLogHandler() }
    let server = try HTTPServerBuilder.http1().buildServer(
        configuration: .init(address: .unixDomainSocket(path: socket)),
        eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger,
        responder: { _, writer, _ in
            let text = ByteBuffer(string: body())
            let response = Response(status: .ok, body: .init(byteBuffer: text))
            try await writer.write(response: response.head, body: response.body)
        },
        onServerRunning: { _ in ready() })
    try await server.run()
}

switch CommandLine.arguments.dropFirst().first {
case "hello":
    try await serve(CommandLine.arguments[2]) {
        "hello"
    } ready: {
    }
case "sleep":
    try await Task.sleep(for: .seconds(3600))
case "agent":
    let directory = CommandLine.arguments[2]
    guard let lock = try FileLock.acquire(path: directory + "/agent.lock") else { HostProcess.exit(1) }
    try TextFile.replace(directory + "/ha.pid", with: "\(HostProcess.pid)\n")
    let info = #"""
        {"instance":"x","driver":"qemu","state":"Running","phase":"running","errors":[],"agentPID":\#(HostProcess.pid),
        "version":"0","run":"r","startedAt":"t","manager":{"kind":"none"},"sshLocalPort":1}
        """#
    try await serve(directory + "/ha.sock") {
        info
    } ready: {
        StandardStreams.output("ready\n")
    }
    lock.release()
default:
    StandardStreams.error("usage: bench-reference hello SOCKET | sleep | agent DIRECTORY\n")
    HostProcess.exit(64)
}
