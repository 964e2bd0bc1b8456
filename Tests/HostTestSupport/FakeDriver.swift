import GuestAccess
import GuestDriver
import HostAgent
import HostModel
import HostOS
import Synchronization
import Testing

/// A step of a fake that waits until the test lets it continue or fail.
package final class Gate: Sendable {
    private enum State {
        case closed([CheckedContinuation<Void, any Error>])
        case open
        case failing(any Error)
    }

    private let state: Mutex<State>

    package init(open isOpen: Bool = true) { state = Mutex(isOpen ? .open : .closed([])) }

    package func open() { settle(.open) { $0.resume() } }

    package func fail(_ error: any Error) { settle(.failing(error)) { $0.resume(throwing: error) } }

    /// From now on, callers of `pass` wait.
    package func close() { state.withLock { $0 = .closed([]) } }

    private func settle(_ next: State, _ resume: (CheckedContinuation<Void, any Error>) -> Void) {
        let waiting = state.withLock { state in
            defer { state = next }
            if case .closed(let waiting) = state { return waiting } else { return [] }
        }
        for continuation in waiting { resume(continuation) }
    }

    /// - Parameter cancellable: a cancelled task leaves with `CancellationError`, as work that can be cancelled does.
    package func pass(cancellable: Bool = true) async throws {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                state.withLock { state in
                    switch state {
                    case .open: continuation.resume()
                    case .failing(let error): continuation.resume(throwing: error)
                    case .closed where cancellable && Task.isCancelled:
                        continuation.resume(throwing: CancellationError())
                    case .closed(let waiting): state = .closed(waiting + [continuation])
                    }
                }
            }
        } onCancel: {
            if cancellable { fail(CancellationError()) }
        }
    }
}

/// What happened to the fakes of one test, in order.
package final class Story: Sendable {
    private let lines = Mutex<[String]>([])
    package init() {}
    package func add(_ line: String) { lines.withLock { $0.append(line) } }
    package var all: [String] { lines.withLock { $0 } }
}

/// A guest that does what a test tells it.
package final class FakeGuest: Guest {
    package let record: GuestRecord
    package let events: AsyncStream<GuestEvent>
    package let says: AsyncStream<GuestEvent>.Continuation
    package let networkAddress: IPAddress? = IPAddress(192, 168, 5, 15)
    package let sshForward = PortForward(.tcp, hostAddress: "127.0.0.1", hostPort: 1, guestPort: 22)
    private let story: Story
    /// The rung at which the guest obeys a request to stop. It ignores the other rungs.
    private let obeys: StopStep?
    private let tags = Mutex<[DiskSnapshot]>([])

    init(_ record: GuestRecord, obeys: StopStep?, _ story: Story) {
        self.record = record
        self.obeys = obeys
        self.story = story
        (events, says) = AsyncStream.makeStream()
    }

    package func end(_ reason: String = "ended with status 0", crashed: Bool = false) {
        says.yield(.ended(reason: reason, crashed: crashed))
        says.finish()
    }

    private func told(_ step: StopStep) {
        story.add(step.rawValue)
        guard let obeys, step >= obeys else { return }
        if step < .quit { says.yield(.poweredOff) } else { end() }
    }

    package func checkAlive() async throws -> String? { nil }
    package func secondsIdle() async throws -> Double? { 0 }
    package func pressPowerButton() async throws { told(.ask) }
    package func quit() async throws { told(.quit) }
    package func kill() {
        story.add("kill")
        end("was killed by signal 9")
    }
    package func snapshots() async throws -> [DiskSnapshot] { tags.withLock { $0 } }
    package func change(_ snapshot: SnapshotChange, willChange: @escaping @Sendable () throws -> Void) async throws {
        try tags.withLock { tags in
            try snapshot.check(against: [("the disk", tags.map(\.tag))])
            try willChange()
            story.add("\(snapshot.verb.rawValue) \(snapshot.tag)")
            switch snapshot.verb {
            case .create: tags.append(DiskSnapshot(tag: snapshot.tag.text, seconds: 0, memory: 1))
            case .apply: break
            case .delete: tags.removeAll { $0.tag == snapshot.tag.text }
            }
        }
    }
    package func portForwards() async throws -> Set<PortForward> { [sshForward] }
    package func open(_ forward: PortForward) async throws { story.add("open \(forward.hostPort)") }
    package func close(_ forward: PortForward) async throws { story.add("close \(forward.hostPort)") }
}

/// Makes and finds fake guests. Each step has a gate. A step that a test did not expect is an issue.
package final class FakeDriver: GuestDriver, GuestFinder {
    package let preparing = Gate()
    package let launching = Gate()
    package let attaching = Gate()
    package let story: Story
    /// The rung that ends this driver's guests.
    package let obeys: StopStep?
    private let guests = Mutex<[FakeGuest]>([])
    private let found: SurvivingGuest?

    /// - Parameter survives: a guest exists when the agent begins.
    package init(obeys: StopStep? = .ask, survives: Bool = false, _ story: Story) {
        self.obeys = obeys
        self.story = story
        found = survives ? SurvivingGuest(Self.record) : nil
    }

    /// The record of this very process, which lives as long as a test does.
    private static var record: GuestRecord {
        GuestRecord(
            driver: "fake",
            process: ProcessIdentity.of(pid: HostProcess.pid) ?? .init(pid: 0, startTime: 0, bootID: ""),
            accelerator: .tcg, sshLocalPort: 1, configurationDigests: nil)
    }

    package var finder: any GuestFinder { self }
    package var obstacle: HostError? { nil }
    package var capabilities: GuestCapabilities {
        GuestCapabilities(canSuspend: .no(because: "it is a fake"), outlivesAgent: .yes)
    }
    /// The guest that was launched or attached to most recently.
    package var guest: FakeGuest? { guests.withLock { $0.last } }

    package func prepare(report: @escaping TransferProgress.Report) async throws {
        story.add("prepare")
        try await preparing.pass()
    }

    /// A launch that is under way runs to its end. A cancelled launch leaves no guest.
    package func launch(sshLocalPort: Int, notice: BootNotice) async throws -> any Guest {
        story.add("launch")
        try await launching.pass()
        return newGuest()
    }

    private func newGuest() -> FakeGuest {
        let guest = FakeGuest(Self.record, obeys: obeys, story)
        guests.withLock { $0.append(guest) }
        return guest
    }

    package func survivor() throws -> SurvivingGuest? { found }
    package func restoreSockets() -> Bool { false }

    package func attach(_ survivor: SurvivingGuest, patience: Duration) async throws -> any Guest {
        story.add("attach")
        if survivor != found { Issue.record("attached to a guest that was not found: \(survivor)") }
        try await attaching.pass()
        return newGuest()
    }

    package func kill(_ survivor: SurvivingGuest) async -> Bool {
        story.add("kill survivor")
        return true
    }

    package func restoreRecord(of guest: SurvivingGuest) -> Bool { false }
    package func forget() { story.add("forget") }
}

/// The access plan of a fake guest: its channel, its login and its probes.
package final class FakeAccess: AccessPlan {
    package let confirming = Gate()
    package let probing = Gate()
    package let channel: FakeChannel?
    private let story: Story

    package init(channel: FakeChannel?, _ story: Story) {
        self.channel = channel
        self.story = story
    }

    package func prepare() async throws {}
    package var bootNotice: BootNotice { BootNotice() }
    package func confirmSetUp(seed: String) {}
    package func follow(_ phase: Phase) {}
    package func prepareForOtherState() { story.add("other state") }
    package func choosePort() throws(HostError) -> Int { 1 }
    package func writeSSHConfiguration(port: Int) throws(HostError) {}
    package func restoreSSHConfiguration() -> Bool { false }
    package let connections: any GuestConnections = FakeConnections()
    package func openChannel() async throws -> (any ChannelToGuest)? { channel }
    package func confirm() async throws {
        story.add("confirm")
        try await confirming.pass()
    }
    package func waitForGreeting() async throws { story.add("greeting") }
    package func runProbes() async throws { try await probing.pass() }
    package var evidence: String { "; evidence" }
}

/// A guest without a shared connection. Nobody may use it.
package struct FakeConnections: GuestConnections {
    package var forwards: Set<ConnectionForward>? { nil }
    package var obstacle: String? { nil }
    package var changes: AsyncStream<Void> { AsyncStream { $0.finish() } }
    package func open(_ forward: ConnectionForward) async throws { Issue.record("opened \(forward)") }
    package func close(_ forward: ConnectionForward) async throws { Issue.record("closed \(forward)") }
}

package final class FakeChannel: ChannelToGuest {
    package let messages: AsyncStream<ChannelMessage>
    package let says: AsyncStream<ChannelMessage>.Continuation
    private let story: Story

    package init(_ story: Story) {
        self.story = story
        (messages, says) = AsyncStream.makeStream()
    }

    package func send(_ command: GuestChannel.Command) {
        if case .poweroff = command { story.add("channel: poweroff") }
    }

    package func close() {
        story.add("channel: close")
        says.finish()
    }
}
