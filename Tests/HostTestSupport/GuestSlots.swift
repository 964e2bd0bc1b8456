import Testing

/// Limits how many tests of a process have a guest at a time. The others wait their turn, in order. An emulated guest
/// needs a core: with thirty guests on two cores, each guest misses every deadline.
package struct GuestSlots: SuiteTrait, TestTrait, TestScoping {
    package var isRecursive: Bool { true }

    package func provideScope(
        for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
    ) async throws {
        await Self.queue.take()
        do {
            try await body()
        } catch {
            await Self.queue.give()
            throw error
        }
        await Self.queue.give()
    }

    private static let queue = Queue()

    private actor Queue {
        private var free = 4
        private var waiting: [CheckedContinuation<Void, Never>] = []

        func take() async {
            if free > 0 {
                free -= 1
            } else {
                await withCheckedContinuation { waiting.append($0) }
            }
        }

        func give() {
            if waiting.isEmpty {
                free += 1
            } else {
                waiting.removeFirst().resume()
            }
        }
    }
}

extension Trait where Self == GuestSlots {
    package static var guestSlot: Self { Self() }
}
