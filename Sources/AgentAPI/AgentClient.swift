import Foundation
import HostModel
import HostOS
import NIOCore
import NIOHTTP1
import NIOPosix

/// A client of one agent's socket.
package struct AgentClient: Sendable {
    private let socket: String

    package init(socket: String) { self.socket = socket }

    /// - Parameter patience: how long the complete answer may take.
    /// - Throws: `HostError` with `.unavailable` if no agent answers.
    package func info(patience: TimeAmount = .seconds(3)) async throws -> AgentInfo {
        let answer = try await exchange(.info, patience: patience)
        guard let info = try? JSONDecoder().decode(AgentInfo.self, from: Data(answer)) else {
            throw HostError(
                .unavailable, "what listens on \(socket) is not a hostagent",
                hint: "is Lima itself running this instance? limactl list shows it")
        }
        return info
    }

    /// Asks the agent to stop its guest.
    package func stop(force: Bool) async throws -> StopBody {
        let answer = try await exchange(.stop, query: force ? "?force=true" : "", patience: .seconds(10))
        return (try? JSONDecoder().decode(StopBody.self, from: Data(answer))) ?? StopBody(delegatedTo: nil)
    }

    /// Asks the agent to read its configuration again.
    package func reload() async throws -> ReloadBody {
        try await decoded(exchange(.reload, patience: .seconds(30)))
    }

    /// Asks the agent to replace itself by the program that is now on disk. The agent answers before it does so.
    package func upgrade() async throws -> UpgradeBody {
        try await decoded(exchange(.upgrade, patience: .seconds(30)))
    }

    /// The snapshots of the running guest.
    package func snapshots() async throws -> [DiskSnapshot] {
        try await (decoded(exchange(.snapshots, patience: .seconds(30))) as SnapshotsBody).snapshots
    }

    /// The guest's memory may have to be written to a slow disk, so this waits for as long as the agent does.
    package func change(_ snapshot: SnapshotChange) async throws {
        let tag = snapshot.tag.text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        let query = "?change=\(snapshot.verb.rawValue)&tag=\(tag)"
        _ = try await exchange(.snapshot, query: query, patience: .minutes(31))
    }

    private func decoded<Body: Decodable>(_ answer: [UInt8]) throws -> Body {
        do {
            return try JSONDecoder().decode(Body.self, from: Data(answer))
        } catch {
            throw HostError(.failed, "the agent behind \(socket) sent an answer that cannot be decoded: \(error)")
        }
    }

    /// Passes the agent's events after `since` to `body`, then live events, until the agent ends the stream or `body`
    /// returns false. If the agent disconnects a slow reader, this method connects again and continues after the last
    /// event.
    package func events(
        since: Int = 0, run: String? = nil, _ body: (EventRecord) async throws -> Bool
    ) async throws {
        var (since, run) = (since, run)
        var isAgain = false
        var vain = 0
        while true {
            var last: EventRecord?
            let query = "?since=\(since)" + (run.map { "&run=\($0)" } ?? "")
            let connection = try await opened(again: isAgain)
            defer { connection.close() }
            connection.send(.events, query: query)
            var rest: [UInt8] = []
            for try await part in connection.parts {
                guard case .body(let bytes) = part else { continue }
                rest.append(contentsOf: bytes.readableBytesView)
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    let record = EventRecord(line: rest[..<end])
                    rest.removeSubrange(...end)
                    guard let record else { continue }
                    last = record
                    if !(try await body(record)) { return }
                }
            }
            // The last event of a run has `exiting`. An empty stream means that there is nothing more to read, unless
            // the agent was replaced once more.
            if let last {
                if last.status.exiting == true { return }
                (since, run, isAgain, vain) = (last.seq, last.run, true, 0)
            } else {
                vain += 1
                guard vain <= Self.vainLimit else { return }
                isAgain = true
                try await Task.sleep(for: .milliseconds(100))
            }
        }
    }

    /// An agent that is upgraded, or restarted after a crash, binds its socket again. No event announces this, so the
    /// client retries.
    private func opened(again: Bool) async throws -> HTTPConnection {
        var backoff = Backoff(from: .milliseconds(5), to: .milliseconds(100))
        let deadline = ContinuousClock.now + .seconds(again ? 3 : 0)
        while true {
            do {
                return try await HTTPConnection.open(socket: socket, patience: .seconds(3))
            } catch {
                if ContinuousClock.now >= deadline { throw error }
                try await backoff.pause()
            }
        }
    }

    /// How many empty streams in a row are followed by another attempt.
    private static let vainLimit = 5

    private func exchange(_ route: Route, query: String = "", patience: TimeAmount) async throws -> [UInt8] {
        let connection = try await HTTPConnection.open(
            socket: socket, patience: .nanoseconds(patience.nanoseconds))
        defer { connection.close() }
        connection.expire(after: patience)
        connection.send(route, query: query)
        var status = HTTPResponseStatus.ok
        var body: [UInt8] = []
        var complete = false
        for try await part in connection.parts {
            switch part {
            case .head(let head): status = head.status
            case .body(let bytes): body.append(contentsOf: bytes.readableBytesView)
            case .end: complete = true
            }
            if complete { break }
        }
        guard complete else { throw HostError(.unavailable, "the agent behind \(socket) does not answer") }
        guard status.code < 300 else {
            if status == .notFound {
                throw HostError(
                    .failed, "the agent behind \(socket) is of a version that does not know \(route.path)",
                    hint: "hostagent upgrade replaces it by this version; its guest runs on")
            }
            let error = try? JSONDecoder().decode(APIErrorBody.self, from: Data(body))
            throw HostError(
                .failed, error?.message ?? "the agent answered \(status)", hint: error?.hint,
                status: error?.exitStatus.flatMap(HostExitStatus.init))
        }
        return body
    }
}
