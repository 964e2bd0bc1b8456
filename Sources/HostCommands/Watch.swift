import AgentAPI
import ArgumentParser
import HostModel
import HostOS
import InstanceOperations
import InstanceStore

struct Watch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints the events of instances as they happen, until it is interrupted.",
        discussion: "Instances that start later are watched too. Without names, all are.")

    @Argument(help: "Watch only these instances.", completion: .instanceNames)
    var names: [String] = []

    @Flag(help: "Print JSON lines of the form {\"instance\":NAME,\"event\":EVENT}, as Lima does.")
    var json = false

    @Flag(help: "Begin with the events of the current or last run.")
    var history = false

    @Flag(help: "Also print what guests write while they set themselves up.")
    var verbose = false

    func run() async throws {
        let context = OperationContext.current
        let home = try context.home()
        if let owner = try OwnerBoundary(names.first, context) { throw owner.refuse("watch events", "watch") }
        let watched = try home.instances(named: names)
        guard !watched.isEmpty || names.isEmpty else { return }
        let shown = EventPrinter(json: json, verbose: verbose)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for directory in watched { group.addTask { try await follow(directory, history, shown) } }
            if names.isEmpty {
                group.addTask { try await followNewcomers(in: home, besides: Set(watched.map(\.name)), shown) }
            }
            try await group.waitForAll()
        }
    }

    /// Instances that are created while this command runs.
    private func followNewcomers(
        in home: LimaHome, besides known: Set<InstanceName>, _ shown: EventPrinter
    ) async throws {
        var known = known
        try await withThrowingTaskGroup(of: Void.self) { group in
            for await _ in DirectoryWatch(path: home.path, of: .arrivals).changes {
                for directory in try home.instances() where known.insert(directory.name).inserted {
                    group.addTask { try await follow(directory, true, shown) }
                }
            }
        }
    }

    /// Follows one run after the other. Between runs, the directory tells when an agent makes its socket.
    private func follow(_ directory: InstanceDirectory, _ history: Bool, _ shown: EventPrinter) async throws {
        let watch = DirectoryWatch(path: directory.path, of: .arrivals)
        var arrivals = watch.changes.makeAsyncIterator()
        var last = history ? nil : Self.records(directory).last
        while Files.kind(directory.path) == .directory {
            if try directory.isHeld(), Files.kind(directory.agentSocket) == .socket {
                do {
                    try await AgentClient(socket: directory.agentSocket).events(
                        since: last?.seq ?? 0, run: last?.run
                    ) { record in
                        last = record
                        return shown.show(record, of: directory.name)
                    }
                } catch let error as HostError where error.code == .unavailable {
                    // The agent ended between the look at its socket and the connection.
                }
            }
            // What an agent wrote that was killed, or that ran before this command looked.
            for record in Self.records(directory) where record.run != last?.run || record.seq > last?.seq ?? 0 {
                last = record
                guard shown.show(record, of: directory.name) else { return }
            }
            guard await arrivals.next() != nil else { return }
        }
    }

    /// The events of the current or last run.
    private static func records(_ directory: InstanceDirectory) -> [EventRecord] {
        ((try? EventLogFiles.lines(directory.eventLog)) ?? []).compactMap { EventRecord(line: $0.utf8) }
    }
}

/// Prints the events of several instances, one line each.
private struct EventPrinter: Sendable {
    let json: Bool
    let verbose: Bool

    private struct Line: Encodable {
        var instance: String
        var event: EventRecord
    }

    /// - Returns: false when the reader has gone.
    func show(_ record: EventRecord, of name: InstanceName) -> Bool {
        if json {
            guard let line = try? JSONText.line(Line(instance: name.text, event: record)) else { return true }
            return StandardStreams.output(line)
        }
        var lines = EventText.sentences(record)
        if verbose, lines.isEmpty, let said = record.status.cloudInitProgress?.logLine { lines = [said] }
        let time = record.time.prefix { $0 != "." }.replacing("T", with: " ")
        return lines.isEmpty || StandardStreams.output(lines.map { "\(time) \(name) | \($0)\n" }.joined())
    }
}
