import AgentAPI
import HostModel
import HostOS
import InstanceStore
import ServiceManagers

/// Starts an agent, or joins one that is starting, and follows it until the guest is ready.
package struct StartOperation: Sendable {
    let context: OperationContext
    let directory: InstanceDirectory
    /// Seconds that the start may take; nil means that only the agent's own limits apply.
    let timeout: Int?
    /// The events are followed even when the manager's answer would be enough, because they are shown.
    let follows: Bool
    /// The guest's readiness is waited for. Otherwise the start is over when its machine runs.
    let waits: Bool

    package init(
        context: OperationContext, directory: InstanceDirectory, timeout: Int? = nil, follows: Bool = false,
        waits: Bool = true
    ) {
        self.context = context
        self.directory = directory
        self.timeout = timeout
        // Without the events it is not known when the machine runs.
        self.follows = follows || !waits
        self.waits = waits
    }

    /// How following an agent ended.
    enum Ending: Sendable {
        case ready
        case failed(errors: [String], status: Int32)
        /// The stream broke off, because the agent died or could not begin.
        case silence
    }

    /// - Parameter isBeingStarted: the manager was already told to start; the start is only followed.
    /// - Throws: `HostError` with the reason and the exit status of an agent that gave up.
    package func run(isBeingStarted: Bool = false) async throws -> StartResult {
        let instance = try Instance(directory)
        for warning in instance.warnings { context.progress(.warning(warning)) }
        // Another command may hold the lock for a moment, or may have started the instance. That start is followed.
        for _ in 0..<Self.tries {
            do {
                if let outcome = try await joinExisting() { return await result(outcome) }
                if let registration = context.registration(of: directory) {
                    let start = ManagedStart(
                        operation: self, registration: registration, isBeingStarted: isBeingStarted)
                    try await start.run()
                } else {
                    try await startNew()
                }
                return await result(.started)
            } catch is Superseded {
                continue
            } catch is GuestWasGone {
                continue
            }
        }
        throw HostError(
            .held, "other commands hold the instance \"\(directory.name)\" again and again",
            hint: "hostagent list shows how it is")
    }

    private func result(_ outcome: StartResult.Outcome) async -> StartResult {
        let info = try? await AgentClient(socket: directory.agentSocket).info()
        return StartResult(
            name: directory.name.text, outcome: outcome, status: info?.state ?? .running,
            errors: info.flatMap { $0.errors.isEmpty ? nil : $0.errors },
            sshLocalPort: info?.sshLocalPort, agentPID: info?.agentPID, guestPID: info?.guestPID,
            runBy: info?.autoStartedIdentifier)
    }

    /// What a start would do.
    package func plan() throws -> OperationPlan {
        _ = try Instance(directory)
        let name = directory.name.text
        if try directory.isHeld() { return OperationPlan(name: name, steps: []) }
        if let registration = context.registration(of: directory) {
            return OperationPlan(
                name: name, steps: ["have \(context.manager.kind.rawValue) start \(registration.identifier)"])
        }
        let guest = context.orphan(directory).map { "attach to the guest, process \($0)" } ?? "boot the guest"
        return OperationPlan(name: name, steps: ["start an agent", guest])
    }

    /// How often a start is tried while another process holds the instance.
    private static let tries = 5

    /// The agent attached to a guest that had powered itself off, and ended as it should. The start is tried again,
    /// because its caller wants a running guest.
    struct GuestWasGone: Error {}

    /// Another process took the instance first.
    private struct Superseded: Error {}

    /// The last run was such a one.
    func checkWhetherGuestWasGone() throws {
        let lines = (try? EventLogFiles.lines(directory.eventLog, limit: 64 << 20)) ?? []
        guard case .attached? = lines.first.flatMap({ EventRecord(line: $0.utf8) })?.event,
            case .exiting(let end)? = lines.last.flatMap({ EventRecord(line: $0.utf8) })?.event,
            end.exitStatus == HostExitStatus.success.rawValue
        else { return }
        context.progress(.remark("the guest that was left without an agent had powered itself off; starting it anew"))
        throw GuestWasGone()
    }

    // MARK: An agent that is there

    /// Follows an agent that is starting; nil when there is none.
    private func joinExisting() async throws -> StartResult.Outcome? {
        let client = AgentClient(socket: directory.agentSocket)
        if try !directory.isHeld() {
            // This is an agent of this instance. Its lock was removed a moment ago, and it is about to restore it.
            guard directory.stranger != nil, (try? await client.info()) != nil else { return nil }
        }
        guard let info = try await client.info(holding: directory, within: .seconds(5)) else { return nil }
        try info.requireAgent(of: directory)
        if info.phase.isUsable { return .alreadyRunning }
        if !waits, info.phase.hasGuest, info.phase != .stopping { return .started }
        if info.phase == .stopping || info.phase.isFinal {
            // As in a service manager, a start waits for a stop that is under way. The stop has its own time limit.
            context.progress(
                .remark("\(directory.name) is being stopped by process \(info.agentPID); waiting for that"))
            let limit = Duration.seconds(timeout ?? 3600 + 60)
            guard await ProcessIdentity.of(pid: info.agentPID)?.ended(within: limit) ?? true else {
                throw HostError(
                    .held, "the instance \"\(directory.name)\" is still being stopped by process \(info.agentPID)",
                    hint: "hostagent events \(directory.name) shows how it goes")
            }
            return nil
        }
        context.progress(.remark("\(directory.name) is being started by process \(info.agentPID); following"))
        let ending = try await withThrowingTaskGroup(of: Ending.self) { group in
            group.addTask { [progress = context.progress] in
                var ending = Ending.silence
                try await client.events(run: info.run) { record in
                    ending = self.ending(after: record, ending)
                    progress(.event(record))
                    return !Self.isOver(ending)
                }
                return ending
            }
            if let timeout { group.addTask { throw try await lateError(after: timeout) } }
            defer { group.cancelAll() }
            return try await group.next() ?? .silence
        }
        await awaitEnd(of: ending, agent: ProcessIdentity.of(pid: info.agentPID))
        try conclude(ending)
        return .started
    }

    /// The error when a start by another process or a manager exceeds the caller's time limit.
    func lateError(after seconds: Int) async throws -> HostError {
        try await Task.sleep(for: .seconds(seconds))
        return HostError(
            .failed, "\"\(directory.name)\" was not ready within \(seconds) s, and is still being started",
            hint:
                "hostagent events --follow \(directory.name) shows how it goes; hostagent stop \(directory.name) ends it"
        )
    }

    static func heldSilently(_ directory: InstanceDirectory) -> HostError {
        let holder = directory.recordedAgentPID.map { "process \($0)" } ?? "another process"
        return HostError(
            .held, "the instance \"\(directory.name)\" is held by \(holder), which does not answer",
            hint: "hostagent stop --force \(directory.name) ends it")
    }

    // MARK: A new agent

    private func startNew() async throws {
        let pipe: Pipe
        do {
            pipe = try Pipe()
        } catch {
            throw HostError(.unavailable, "cannot start an agent: \(error)")
        }
        // The agent outlives this command, so it gets its own session. Its events come through its standard output. It
        // continues without a reader once this command has ended.
        let process = DetachedProcess(
            executable: HostProcess.executablePath,
            arguments: ["start", directory.name.text, "--foreground", "--progress"]
                + (timeout.map { ["--timeout", String($0)] } ?? []),
            environment: context.environment, output: .descriptor(pipe.writer.number),
            error: .append(path: directory.agentLog))
        try? Files.remove(directory.agentLog)
        let pid: Int32
        do {
            pid = try process.spawn()
        } catch {
            throw HostError(.unavailable, "cannot start an agent: \(error)")
        }
        let reader = pipe.closingWriter()
        var ending = Ending.silence
        var rest: [UInt8] = []
        reading: while true {
            let bytes = (try? reader.read(subject: "the agent's events")) ?? []
            if bytes.isEmpty { break }
            rest.append(contentsOf: bytes)
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                let record = EventRecord(line: rest[..<end])
                rest.removeSubrange(...end)
                guard let record else { continue }
                ending = self.ending(after: record, ending)
                context.progress(.event(record))
                if Self.isOver(ending) { break reading }
            }
        }
        if case .silence = ending {
            try await explainSilence(pid)
        } else {
            await awaitEnd(of: ending, agent: ProcessIdentity.of(pid: pid))
            try conclude(ending)
        }
    }

    /// The error when the agent ended before it could report. Its message comes from its log, its status is passed on.
    private func explainSilence(_ pid: Int32) async throws {
        // Its standard output is closed, so it is ending.
        let end = ProcessIdentity.childEnd(of: pid)
        if case .exited(HostExitStatus.held.rawValue) = end, try directory.isHeld() { throw Superseded() }
        var said = TextFile.tail(directory.agentLog, count: 8192).trimmed
        if said.hasPrefix("hostagent: ") { said.removeFirst("hostagent: ".count) }
        var status = HostExitStatus.failure
        if case .exited(let code) = end, let its = HostExitStatus(rawValue: code), its != .success { status = its }
        throw HostError(.failed, said.isEmpty ? "the agent \(end.description)" : said, status: status)
    }

    // MARK: Following

    func ending(after record: EventRecord, _ before: Ending) -> Ending {
        if !waits, record.phase == .booting || record.phase == .provisioning { return .ready }
        if record.phase.isUsable, record.status.running == true { return .ready }
        if case .exiting(let end) = record.event {
            return .failed(errors: record.status.errors ?? [], status: end.exitStatus)
        }
        return before
    }

    static func isOver(_ ending: Ending) -> Bool {
        if case .silence = ending { false } else { true }
    }

    /// Waits until the agent of a failed start has released the instance, so that the caller finds nothing of it. The
    /// agent does so within two seconds of its last event.
    private func awaitEnd(of ending: Ending, agent: ProcessIdentity?) async {
        if case .failed = ending { _ = await agent?.ended(within: .seconds(3)) }
    }

    private func conclude(_ ending: Ending) throws {
        switch ending {
        case .ready: break
        case .silence: throw HostError(.failed, "the agent of \"\(directory.name)\" ended without a word")
        case .failed(let errors, let status):
            let byItself = status == HostExitStatus.success.rawValue
            if byItself { try checkWhetherGuestWasGone() }
            let quietEnd = byItself ? "its guest powered itself off before it was ready" : "it was stopped"
            let reason = errors.isEmpty ? quietEnd : errors.joined(separator: "; ")
            throw HostError(
                .failed, "\"\(directory.name)\" did not start: \(reason)",
                status: byItself ? .failure : HostExitStatus(rawValue: status) ?? .failure)
        }
    }
}
