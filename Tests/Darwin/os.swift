// Stands for Apple's module os: the lock that swift-subprocess uses. Nothing here is ever executed.
public struct OSAllocatedUnfairLock<State>: @unchecked Sendable {
    public init(initialState: State) {}
    public init(uncheckedState: State) {}
    public func withLock<R: Sendable>(_ body: @Sendable (inout State) throws -> R) rethrows -> R { fatalError() }
    public func withLockUnchecked<R>(_ body: (inout State) throws -> R) rethrows -> R { fatalError() }
}
extension OSAllocatedUnfairLock where State == () {
    public init() {}
    public func withLock<R: Sendable>(_ body: @Sendable () throws -> R) rethrows -> R { fatalError() }
}
