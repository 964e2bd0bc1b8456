import HostModel
import Testing

/// Limits how many guests the tests of a process have at a time. The other tests wait their turn, in order. An emulated
/// guest needs a core: with thirty guests on two cores, each guest misses every deadline.
///
/// The time that a test may take begins with its turn. That of `.timeLimit` would begin with its wait.
package struct GuestSlots: SuiteTrait, TestTrait, TestScoping {
    /// Whether the tests go before the others. Long ones do, because those that begin last end last.
    var goesFirst: Bool
    /// The slots that one test takes.
    var weight: Int
    /// The longest time of one test. It ends a test that hangs, and is no measure of speed.
    var limit: Duration

    package var isRecursive: Bool { true }

    package func provideScope(
        for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
    ) async throws {
        await Self.queue.take(weight, first: goesFirst)
        let began = ContinuousClock.now
        defer {
            let seconds = (ContinuousClock.now - began).components.seconds
            print("\(test.name) held \(weight) of \(Queue.slots) slots for \(seconds) s")
        }
        do {
            let inTime: Void? = try await withoutActuallyEscaping(body) { body in
                try await withTimeLimit(limit) { try await body() }
            }
            if inTime == nil { Issue.record("the test took more than \(limit)") }
        } catch {
            await Self.queue.give(weight)
            throw error
        }
        await Self.queue.give(weight)
    }

    private static let queue = Queue()

    private actor Queue {
        static let slots = 4
        private var free = slots
        private var waiting: [(weight: Int, turn: CheckedContinuation<Void, Never>)] = []

        func take(_ weight: Int, first: Bool) async {
            if waiting.isEmpty, free >= weight {
                free -= weight
            } else {
                await withCheckedContinuation { waiting.insert((weight, $0), at: first ? 0 : waiting.count) }
            }
        }

        func give(_ weight: Int) {
            free += weight
            while let next = waiting.first, next.weight <= free {
                free -= next.weight
                waiting.removeFirst().turn.resume()
            }
        }
    }
}

extension Trait where Self == GuestSlots {
    package static var guestSlot: Self { Self(goesFirst: false, weight: 1, limit: .seconds(15 * 60)) }
    /// For tests with a complete distribution, which boots for minutes and needs a core of its own.
    package static var largeGuestSlot: Self { Self(goesFirst: true, weight: 2, limit: .seconds(40 * 60)) }
}
