import GuestAccess
import HostModel
import HostOS
import Synchronization

/// Tells the guest what is changed on the host in a directory that it has, so that its programs that wait for changes
/// (inotify(7)) wake up.
///
/// The guest answers each message when it has done what it asks for. It gets the next one then, and not before: a guest that
/// is busy is told less often, of more files at once.
final class MountChanges: Sendable {
    private enum Signal {
        case report(TreeWatch.Report)
        case answered
    }

    private let mount: Mount
    private let number: Int
    /// When the guest was told of what it has to answer; nil if it has answered.
    private let asked = Mutex<ContinuousClock.Instant?>(nil)
    private let signals: AsyncStream<Signal>
    private let continuation: AsyncStream<Signal>.Continuation

    /// Paths that wait for the guest. Beyond that, the guest is told of the directories only.
    private static let maximumWaiting = 4096
    /// A file that is written all the time is told of this often.
    private static let pause = Duration.milliseconds(100)
    /// An answer that takes longer was lost.
    private static let patience = Duration.seconds(30)

    init(of mount: Mount, number: Int) {
        self.mount = mount
        self.number = number
        (signals, continuation) = AsyncStream.makeStream(of: Signal.self)
    }

    /// The guest has done what the last message asked for.
    func guestAnswers() {
        // The guest may not fill the memory with answers.
        let wasAsked = asked.withLock { asked in
            defer { asked = nil }
            return asked != nil
        }
        if wasAsked { continuation.yield(.answered) }
    }

    private var isBusy: Bool { asked.withLock { $0.map { .now - $0 < Self.patience } ?? false } }

    /// Watches the directory until the task is cancelled.
    func run(send: @escaping @Sendable (GuestChannel.Command) -> Void, warn: @escaping @Sendable (String) -> Void) async
    {
        let watch = TreeWatch(path: mount.location)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [continuation] in
                for await report in watch.reports { continuation.yield(.report(report)) }
            }
            await self.tell(of: watch, send, warn)
            group.cancelAll()
        }
    }

    private func tell(
        of watch: TreeWatch, _ send: (GuestChannel.Command) -> Void, _ warn: (String) -> Void
    ) async {
        var waiting: Set<TreeWatch.Path> = []
        var last = ContinuousClock.now - Self.pause
        for await signal in signals {
            switch signal {
            case .answered: break
            case .report(.changed(let paths)):
                waiting.formUnion(paths)
                if waiting.count > Self.maximumWaiting { waiting = Self.directories(of: waiting) }
            case .report(.incomplete(let reason)):
                warn("the guest is not told of all changes in \(mount.location): \(reason)")
            }
            guard !isBusy, !waiting.isEmpty else { continue }
            guard (try? await Task.sleep(until: last + Self.pause, clock: .continuous)) != nil else { return }
            var paths: [TreeWatch.Path] = []
            // Most of what compilers make is gone soon.
            while paths.isEmpty, !waiting.isEmpty { paths = await watch.tellable(ChangedPaths.batch(of: &waiting)) }
            guard !paths.isEmpty else { continue }
            last = .now
            asked.withLock { $0 = last }
            send(.pathsChanged(mount: number, owner: HostProcess.uid, ChangedPaths(paths)))
        }
    }

    /// The directories that hold these paths, as many as can wait.
    private static func directories(of paths: Set<TreeWatch.Path>) -> Set<TreeWatch.Path> {
        let directories = Set(paths.map { Array($0[..<($0.lastIndex(of: UInt8(ascii: "/")) ?? 0)]) })
        return directories.count > maximumWaiting ? [[]] : directories
    }
}

extension GuestMounts {
    /// The guest has let its programs know of changes.
    func guestWasTold(about number: Int) { state.withLock { $0.changes[number] }?.guestAnswers() }

    /// Tells the guest what the host changes, as long as the task runs. Files that the guest cannot write to cannot be
    /// reported to its programs. Those of root are not, because the report gives a file the owner that it had a moment ago.
    func tellOfChanges(in mount: Mount, _ number: Int) async {
        guard state.withLock({ $0.plan.tellsOfChanges }), mount.isWritable, HostProcess.uid != 0 else { return }
        let changes = MountChanges(of: mount, number: number)
        state.withLock { $0.changes[number] = changes }
        await changes.run(
            send: { [self] in channel?.send($0) },
            warn: { [log] in log.emit(.warning($0)) })
    }
}
