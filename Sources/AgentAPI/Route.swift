/// The routes of the API. The server, the client and docs/api.md all use this table.
package enum Route: String, CaseIterable, Sendable {
    case info, events, health, stop, reload, upgrade, snapshots, snapshot

    package enum Method: String, Sendable {
        case get = "GET"
        case post = "POST"
    }

    package var path: String { "/v1/\(rawValue)" }

    package var method: Method {
        switch self {
        case .info, .events, .health, .snapshots: .get
        case .stop, .reload, .upgrade, .snapshot: .post
        }
    }

    /// The query that may follow the path.
    package var query: String {
        switch self {
        case .events: "?since=SEQ&run=ID"
        case .stop: "?force=true"
        case .snapshot: "?change=CHANGE&tag=TAG"
        case .info, .health, .reload, .upgrade, .snapshots: ""
        }
    }

    /// The description of the answer, with its status codes.
    package var answer: String {
        switch self {
        case .info:
            "200: what the agent says of itself; `autoStartedIdentifier` and `sshLocalPort` are Lima's keys, the first is "
                + "left out when a person started the agent"
        case .events:
            "200: JSON lines, first those already emitted after SEQ, then live ones, until the client leaves; another run's "
                + "ID, or a SEQ larger than any, replays from 1; 400 for a SEQ that is no number"
        case .health: "200 when the guest is running, 503 with the state otherwise"
        case .stop: "202: the stop has begun; `delegatedTo` names the manager's unit that carries it out"
        case .reload:
            "200: which keys are in effect, and which are pending; 422 for a configuration with mistakes, 409 otherwise"
        case .snapshots: "200: `snapshots`, those of the guest's disks; 409 without a guest"
        case .snapshot:
            "200: the snapshot was taken (`create`), returned to (`apply`) or deleted (`delete`); 409 with the reason why it "
                + "was not; 400 for another word or a tag that cannot be one"
        case .upgrade: "202: the version that the agent becomes after this answer; 409 with the reason why it does not"
        }
    }

    /// The table in docs/api.md.
    package static var table: String {
        "| route | answer |\n|---|---|\n"
            + allCases.map { "| `\($0.method.rawValue) \($0.path)\($0.query)` | \($0.answer) |\n" }.joined()
    }
}
