import AgentAPI
import Foundation
import HostModel
import HostOS
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization

/// Serves the API on `ha.sock`. All requests go through `AgentHandlers`; the server decides nothing.
struct APIServer: Service {
    /// What the API can read from the agent, and what it can make the agent do.
    struct AgentHandlers: Sendable {
        var info: @Sendable () -> AgentInfo
        var log: EventLog
        /// Begins a stop and reports who carries it out.
        var stop: @Sendable (_ force: Bool) async -> StopBody
        /// Reads the configuration again.
        var reload: @Sendable () async throws(HostError) -> ReloadBody
        var snapshots: @Sendable () async throws(HostError) -> [DiskSnapshot]
        var changeSnapshot: @Sendable (SnapshotChange) async throws(HostError) -> Void
        /// Reports which version would replace the agent.
        var checkUpgrade: @Sendable () async throws(HostError) -> UpgradeBody
        /// Replaces the agent by that version.
        var upgrade: @Sendable (UpgradeBody) async -> Void
    }

    private let service: any Service

    /// - Parameter onBound: called once clients can connect to the socket.
    init(socket: String, handlers: AgentHandlers, onBound: @escaping @Sendable () -> Void) throws {
        // The server's own log messages do not help a person who runs a guest. Failures are thrown as errors.
        let logger = Logger(label: "api") { _ in SwiftLogNoOpLogHandler() }
        let responder = Self.router(handlers).buildResponder()
        service = try HTTPServerBuilder.http1(
            configuration: .init(
                additionalChannelHandlers: [PeerGuard()],
                httpDecoderConfiguration: .init(
                    maxHeaderFieldSize: 8192, maxHeaderListSize: 16384, maxHeaderFieldCount: 64))
        ).buildServer(
            configuration: .init(address: .unixDomainSocket(path: socket), backlog: 512),
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger,
            responder: { request, writer, channel in
                let context = APIContext(source: .init(channel: channel, logger: logger))
                let response: Response
                do {
                    let answer = try await responder.respond(to: request, context: context)
                    // The router sends its own error responses without a body.
                    let refused = answer.status.code >= 400 && answer.body.contentLength == 0
                    response = refused ? Self.refusal(answer.status, request) : answer
                } catch let error as any HTTPResponseError {
                    response = Self.refusal(error.status, request)
                } catch let error as HTTPParserError {
                    throw error
                } catch {
                    response = Self.failure(.internalServerError, "\(error)")
                }
                try await writer.write(response: response.head, body: response.body)
                // An upgrade ends this server, so the answer must be sent first.
                if let upgrade = context.upgrade.value { await handlers.upgrade(upgrade) }
            },
            onServerRunning: { _ in
                // The umask made the mode 0700, but a socket needs no execute permission. Until the mode is set, the
                // directory's mode keeps other accounts away.
                try? Files.setMode(socket, 0o600)
                onBound()
            })
    }

    func run() async throws {
        try await withTaskExecutorPreference(EventLoopExecutor()) { try await service.run() }
    }

    private static func router(_ handlers: AgentHandlers) -> Router<APIContext> {
        let router = Router(context: APIContext.self)
        let lastInfo = LastInfo()
        for route in Route.allCases {
            router.on(RouterPath(route.path), method: route.method == .get ? .get : .post) { request, context in
                try await answer(route, request, context, handlers, lastInfo)
            }
        }
        return router
    }

    private static func answer(
        _ route: Route, _ request: Request, _ context: APIContext, _ handlers: AgentHandlers, _ lastInfo: LastInfo
    ) async throws -> Response {
        let query = request.uri.queryParameters
        switch route {
        case .info: return json(lastInfo.body(of: handlers.info()))
        case .health:
            let phase = handlers.log.snapshot.phase
            return json(HealthBody(phase: phase), status: phase == .running ? .ok : .serviceUnavailable)
        case .events:
            guard let since = query["since"].map({ Int($0) }) ?? 0, since >= 0 else {
                return failure(.badRequest, "since must be the number of an event, 0 or more")
            }
            return events(handlers.log, since: since, run: query["run"].map(String.init), channel: context.channel)
        case .stop: return json(await handlers.stop(query["force"] == "true"), status: .accepted)
        case .reload:
            do {
                return json(try await handlers.reload())
            } catch {
                return failure(error.code == .badConfiguration ? .unprocessableContent : .conflict, error.message)
            }
        case .snapshots:
            do {
                return json(SnapshotsBody(snapshots: try await handlers.snapshots()))
            } catch {
                return json(APIErrorBody(error), status: .conflict)
            }
        case .snapshot:
            guard let verb = query["change"].flatMap({ SnapshotChange.Verb(rawValue: String($0)) }),
                let tag = query["tag"].flatMap({ try? SnapshotTag(String($0)) })
            else {
                return failure(.badRequest, "change must be create, apply or delete, and tag the name of a snapshot")
            }
            do {
                let change = SnapshotChange(verb, tag)
                try await handlers.changeSnapshot(change)
                return json(SnapshotBody(change))
            } catch {
                return json(APIErrorBody(error), status: .conflict)
            }
        case .upgrade:
            do {
                let upgrade = try await handlers.checkUpgrade()
                context.upgrade.value = upgrade
                return json(upgrade, status: .accepted)
            } catch {
                return failure(.conflict, error.message)
            }
        }
    }

    private static func events(_ log: EventLog, since: Int, run: String?, channel: any Channel) -> Response {
        let body = ResponseBody { writer in
            let subscription = log.subscribe()
            defer { subscription.cancel() }
            // When the client disconnects, stop waiting for an event that may never come.
            channel.closeFuture.whenComplete { _ in subscription.cancel() }
            // Sequence numbers of another run are meaningless here, and so are numbers above the last event.
            let known = (run == nil || run == log.run) && since <= subscription.emitted
            try await log.past(since: known ? since : 0, through: subscription.emitted) { bytes in
                try await writer.write(ByteBuffer(bytes: bytes))
            }
            for await line in subscription.live { try await writer.write(ByteBuffer(string: line)) }
            try await writer.finish(nil)
        }
        return Response(status: .ok, headers: [.contentType: "application/x-ndjson"], body: body)
    }

    private static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) -> Response {
        json(encode(value), status: status)
    }

    private static func json(_ body: ByteBuffer?, status: HTTPResponse.Status = .ok) -> Response {
        guard let body else { return Response(status: .internalServerError) }
        return Response(
            status: status, headers: [.contentType: "application/json"], body: .init(byteBuffer: body))
    }

    private static func encode(_ value: some Encodable) -> ByteBuffer? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(value)).map { ByteBuffer(bytes: $0) }
    }

    /// The encoded form of the newest information. It rarely changes between two requests, and encoding it takes most of
    /// the time of an answer.
    private final class LastInfo: Sendable {
        private let last = Mutex<(info: AgentInfo, body: ByteBuffer)?>(nil)

        func body(of info: AgentInfo) -> ByteBuffer? {
            last.withLock { last in
                if let last, last.info == info { return last.body }
                last = encode(info).map { (info, $0) }
                return last?.body
            }
        }
    }

    private static func refusal(_ refused: HTTPResponse.Status, _ request: Request) -> Response {
        // The path exists, but not with this method.
        let isThere = refused == .notFound && Route.allCases.contains { $0.path == request.uri.path }
        let status = isThere ? .methodNotAllowed : refused
        return failure(status, "\(request.method) \(request.uri.path): \(status.reasonPhrase)")
    }

    private static func failure(_ status: HTTPResponse.Status, _ message: String) -> Response {
        json(APIErrorBody(message: message), status: status)
    }
}

/// A request's context: its connection.
struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    /// The upgrade to perform after the answer.
    let upgrade = SetOnce<UpgradeBody>()

    final class SetOnce<Value: Sendable>: Sendable {
        private let stored = Mutex<Value?>(nil)
        var value: Value? {
            get { stored.withLock { $0 } }
            set { stored.withLock { $0 = newValue } }
        }
    }

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        channel = source.channel
    }
}

/// Closes connections from other accounts, and connections whose client has left.
private final class PeerGuard: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny

    func handlerAdded(context: ChannelHandlerContext) {
        guard let provider = context.channel as? any SocketOptionProvider else { return }
        let channel = context.channel
        // The socket's mode 0600 and the directory's mode 0700 keep other accounts away. This check protects the agent
        // if somebody loosened those modes.
        PeerCredentials.uid(of: provider, on: context.eventLoop).whenComplete { result in
            guard case .success(let uid) = result, uid == HostProcess.uid || uid == 0 else {
                channel.close(promise: nil)
                return
            }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            // A client may close its sending half and still wait for the answer, so it gets a second.
            let channel = context.channel
            context.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }
}
