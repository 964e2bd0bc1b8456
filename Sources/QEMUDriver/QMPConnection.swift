import Foundation
import HostModel
import HostOS
import NIOCore
import NIOPosix
import Synchronization

/// The monitor of one QEMU process: commands, which are answered in time or fail, and events.
///
/// QEMU serves one client at a time. A second client is connected but hears nothing, so a missing greeting means that
/// the monitor is busy or hung, not that QEMU is dead.
package final class QMPConnection: Sendable {
    /// Why a command has no answer.
    package enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
        case refused(String)
        case noAnswer(seconds: Double)
        case closed

        package var description: String {
            switch self {
            case .refused(let reason): reason
            case .noAnswer(let seconds): "QEMU did not answer within \(seconds) s"
            case .closed: "QEMU closed its monitor"
            }
        }
    }

    /// The events of the machine. Finishes when the monitor is closed.
    package let events: AsyncStream<QMPMessage>

    private let channel: any Channel
    private let dispatcher: Dispatcher

    /// Connects, waits for the greeting and leaves the monitor's negotiation mode.
    /// - Throws: `Failure`, or the error of connect(2).
    package static func open(socket: String, timeout: TimeAmount) async throws -> QMPConnection {
        let dispatcher = Dispatcher()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        ByteToMessageHandler(LineDecoder(limit: QMPConnection.maximumLine)))
                    try channel.pipeline.syncOperations.addHandler(QMPHandler(dispatcher: dispatcher))
                }
            }
            .connect(unixDomainSocketPath: socket).get()
        let connection = QMPConnection(channel: channel, dispatcher: dispatcher)
        do {
            try await connection.wait(for: Dispatcher.greeting, timeout: timeout) {}
            _ = try await connection.execute("qmp_capabilities", timeout: timeout)
        } catch {
            connection.close()
            throw error
        }
        return connection
    }

    /// The longest line that is accepted. A longer one closes the connection.
    private static let maximumLine = 1 << 20

    private init(channel: any Channel, dispatcher: Dispatcher) {
        self.channel = channel
        self.dispatcher = dispatcher
        events = dispatcher.events
    }

    deinit { channel.close(promise: nil) }

    /// Sends a command.
    /// - Returns: the `status` of the answer if it has one (`query-status`), or the answer itself if it is text
    ///   (`human-monitor-command`).
    /// - Throws: `Failure`.
    @discardableResult
    package func execute(
        _ command: String, _ arguments: some Encodable = [String: String](), timeout: TimeAmount = .seconds(10)
    ) async throws -> String? {
        try await answer(to: command, arguments, timeout: timeout).text
    }

    /// Sends a command without arguments.
    /// - Throws: `Failure`, or `DecodingError` if the answer has another form.
    func query<Value: Decodable>(_ command: String) async throws -> Value {
        try await answer(to: command, [String: String](), timeout: .seconds(10)).decoded()
    }

    private func answer(to command: String, _ arguments: some Encodable, timeout: TimeAmount) async throws -> QMPAnswer
    {
        let id = dispatcher.nextID()
        let line = try JSONEncoder().encode(Command(execute: command, arguments: arguments, id: id)) + [0x0a]
        return try await wait(for: id, timeout: timeout) { [channel] in
            channel.writeAndFlush(ByteBuffer(bytes: line), promise: nil)
        }
    }

    private struct Command<Arguments: Encodable>: Encodable {
        var execute: String
        var arguments: Arguments
        var id: Int
    }

    package func close() { channel.close(promise: nil) }

    @discardableResult
    private func wait(for id: Int, timeout: TimeAmount, send: () -> Void) async throws -> QMPAnswer {
        let deadline = channel.eventLoop.scheduleTask(in: timeout) { [dispatcher] in
            dispatcher.settle(id, .failure(.noAnswer(seconds: Double(timeout.nanoseconds) / 1e9)))
        }
        defer { deadline.cancel() }
        return try await withCheckedThrowingContinuation { continuation in
            dispatcher.expect(id, continuation)
            send()
        }
    }

    /// Matches answers to the commands that wait for them.
    fileprivate final class Dispatcher: Sendable {
        static let greeting = 0

        private struct State {
            var last = Dispatcher.greeting
            var waiting: [Int: CheckedContinuation<QMPAnswer, any Error>] = [:]
            /// Results that arrived before anybody waited for them: the greeting can be that fast.
            var early: [Int: Result<QMPAnswer, Failure>] = [:]
            var closed = false
        }

        let events: AsyncStream<QMPMessage>
        private let continuation: AsyncStream<QMPMessage>.Continuation
        private let state = Mutex(State())

        init() { (events, continuation) = AsyncStream.makeStream() }

        func nextID() -> Int {
            state.withLock {
                $0.last += 1
                return $0.last
            }
        }

        func expect(_ id: Int, _ continuation: CheckedContinuation<QMPAnswer, any Error>) {
            let result: Result<QMPAnswer, Failure>? = state.withLock {
                if let early = $0.early.removeValue(forKey: id) { return early }
                if $0.closed { return .failure(.closed) }
                $0.waiting[id] = continuation
                return nil
            }
            if let result { continuation.resume(with: result.mapError { $0 as any Error }) }
        }

        func settle(_ id: Int, _ result: Result<QMPAnswer, Failure>) {
            let continuation = state.withLock {
                if let waiting = $0.waiting.removeValue(forKey: id) { return waiting as CheckedContinuation? }
                if id == Self.greeting { $0.early[id] = result }
                return nil
            }
            continuation?.resume(with: result.mapError { $0 as any Error })
        }

        func receive(_ message: QMPMessage) {
            switch message {
            case .greeting: settle(Self.greeting, .success(.greeting))
            case .answer(let id, let answer): settle(id, .success(answer))
            case .failure(let id, let description): settle(id, .failure(.refused(description)))
            case .event, .job: continuation.yield(message)
            }
        }

        func end() {
            let waiting = state.withLock {
                $0.closed = true
                let waiting = $0.waiting
                $0.waiting = [:]
                return waiting
            }
            for continuation in waiting.values { continuation.resume(throwing: Failure.closed) }
            continuation.finish()
        }
    }

    private final class QMPHandler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let dispatcher: Dispatcher

        init(dispatcher: Dispatcher) { self.dispatcher = dispatcher }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let line = unwrapInboundIn(data)
            if let message = QMPMessage(line: line.readableBytesView) { dispatcher.receive(message) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func channelInactive(context: ChannelHandlerContext) { dispatcher.end() }
    }
}
