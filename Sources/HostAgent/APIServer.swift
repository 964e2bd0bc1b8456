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

/// Serves the API on `ha.sock`: what is asked goes through `AgentHandlers`, nothing is decided here.
struct APIServer: Service {
    /// What the API shows and may do.
    struct AgentHandlers: Sendable {
        var info: @Sendable () -> AgentInfo
        var log: EventLog
        /// Begins a stop and says who carries it out.
        var stop: @Sendable (_ force: Bool) async -> StopBody
        /// Reads the configuration again.
        var reload: @Sendable () async throws(HostError) -> ReloadBody
        /// Says which program the agent would become.
        var checkUpgrade: @Sendable () async throws(HostError) -> UpgradeBody
        /// Becomes it.
        var upgrade: @Sendable (UpgradeBody) async -> Void
    }

    private let service: any Service

    /// - Parameter onBound: called once the socket can be connected to.
    init(socket: String, handlers: AgentHandlers, onBound: @escaping @Sendable () -> Void) throws {
        // The server's own messages are of no use to the person who runs a guest; failures reach us as errors.
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
                    // The router's own refusals have no body.
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
                // Only after its answer: nothing is answered after that.
                if let upgrade = context.upgrade.value { await handlers.upgrade(upgrade) }
            },
            onServerRunning: { _ in
                // The umask made it 0700; a socket is not executed. The directory keeps others away meanwhile.
                try? Files.setMode(socket, 0o600)
                onBound()
            })
    }

    func run() async throws {
        try await withTaskExecutorPreference(EventLoopExecutor()) { try await service.run() }
    }

    private static func router(_ handlers: AgentHandlers) -> Router<APIContext> {
        let router = Router(context: APIContext.self)
        for route in Route.allCases {
            router.on(RouterPath(route.path), method: route.method == .get ? .get : .post) { request, context in
                try await answer(route, request, context, handlers)
            }
        }
        return router
    }

    private static func answer(
        _ route: Route, _ request: Request, _ context: APIContext, _ handlers: AgentHandlers
    ) async throws -> Response {
        let query = request.uri.queryParameters
        switch route {
        case .info: return json(handlers.info())
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
            // A client that goes away ends the wait for an event that may never come.
            channel.closeFuture.whenComplete { _ in subscription.cancel() }
            // Another run's numbers mean nothing here, nor do numbers that were never given.
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
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else {
            return Response(status: .internalServerError)
        }
        return Response(
            status: status, headers: [.contentType: "application/json"],
            body: .init(byteBuffer: ByteBuffer(bytes: data)))
    }

    private static func refusal(_ refused: HTTPResponse.Status, _ request: Request) -> Response {
        // A path that is there, asked in a way that it is not.
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
    /// What is to be done after the answer.
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

/// Closes connections of other accounts, and those whose client has gone.
private final class PeerGuard: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny

    func handlerAdded(context: ChannelHandlerContext) {
        guard let provider = context.channel as? any SocketOptionProvider else { return }
        let channel = context.channel
        // Mode 0600 and the directory's 0700 keep others away; this holds when somebody loosened those.
        PeerCredentials.uid(of: provider, on: context.eventLoop).whenComplete { result in
            guard case .success(let uid) = result, uid == HostProcess.uid || uid == 0 else {
                channel.close(promise: nil)
                return
            }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            // A client may close its half after a request and still wants the answer; one that left wants nothing.
            let channel = context.channel
            context.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
        }
        context.fireUserInboundEventTriggered(event)
    }
}
