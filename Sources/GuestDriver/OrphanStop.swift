import HostModel
import HostOS

/// Ends a guest that no agent supervises, with the stop ladder of `Lifecycle`. The caller holds the instance's lock.
package struct OrphanStop: Sendable {
    private let finder: any GuestFinder
    private let survivor: SurvivingGuest
    private let times: StopTimes
    /// Asks the guest over its channel to power off, in addition to pressing its power button.
    private let ask: @Sendable () async -> Void

    package init(
        finder: any GuestFinder, survivor: SurvivingGuest, times: StopTimes, ask: @escaping @Sendable () async -> Void
    ) {
        self.finder = finder
        self.survivor = survivor
        self.times = times
        self.ask = ask
    }

    private enum Message: Sendable {
        case guest(GuestEvent)
        case timePassed(generation: Int)
    }

    /// - Parameter force: skip asking the guest, tell the machine to end at once, and kill a machine that does not
    ///   answer.
    /// - Throws: `HostError` when the guest lives on.
    package func run(force: Bool) async throws {
        let guest: any Guest
        do {
            guest = try await finder.attach(survivor, patience: .seconds(5))
        } catch {
            if !survivor.process.isAlive { return finder.forget() }
            guard force else {
                let reason = (error as? HostError)?.message ?? "\(error)"
                throw HostError(
                    .failed, reason,
                    hint: "hostagent stop --force kills it, but data that the guest has not written to disk is lost")
            }
            guard await finder.kill(survivor) else { throw livesOn }
            return finder.forget()
        }
        await climb(guest, force: force)
        guard await survivor.process.ended(within: .seconds(times.kill)) else { throw livesOn }
        finder.forget()
    }

    private var livesOn: HostError {
        HostError(.failed, "the guest, process \(survivor.process.pid), was killed but has not ended")
    }

    private func climb(_ guest: any Guest, force: Bool) async {
        var lifecycle = Lifecycle()
        _ = lifecycle.handle(.start(survivor: true))
        _ = lifecycle.handle(.stopRequested(force: false))
        let (queue, enqueue) = AsyncStream.makeStream(of: Message.self)
        await withDiscardingTaskGroup { group in
            group.addTask {
                for await event in guest.events { enqueue.yield(.guest(event)) }
            }
            // Whatever happened to the guest while no agent ran arrives as an event.
            group.addTask { _ = try? await guest.checkAlive() }
            var generation = 0
            var kills = 0
            var actions = lifecycle.handle(.attached(.ready))
            if force { actions = lifecycle.handle(.stopRequested(force: true)) }
            var messages = queue.makeAsyncIterator()
            while true {
                for action in actions {
                    switch action {
                    case .perform(let step):
                        if step == .kill { kills += 1 }
                        group.addTask { await perform(step, on: guest) }
                    case .startTimer(_, let wait):
                        generation += 1
                        let (mine, limit) = (generation, times.duration(of: wait))
                        group.addTask {
                            guard (try? await Task.sleep(for: limit)) != nil else { return }
                            enqueue.yield(.timePassed(generation: mine))
                        }
                    case .finish:
                        group.cancelAll()
                        return
                    default: break
                    }
                }
                // The caller reports a killed process that does not end.
                guard kills < 2, let message = await messages.next() else { break }
                switch message {
                case .guest(let event): actions = lifecycle.handle(.guest(event))
                case .timePassed(let its): actions = its == generation ? lifecycle.handle(.ladderTimePassed) : []
                }
            }
            group.cancelAll()
        }
    }

    private func perform(_ step: StopStep, on guest: any Guest) async {
        switch step {
        case .ask, .askAgain:
            await ask()
            try? await guest.pressPowerButton()
        case .quit: try? await guest.quit()
        case .kill: guest.kill()
        }
    }
}
