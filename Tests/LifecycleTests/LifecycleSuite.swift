import GuestDriver

/// Shorthands for the suites about the state machine, and input sequences that lead to each of its states.
protocol LifecycleSuite {}

extension LifecycleSuite {
    typealias Action = Lifecycle.Action
    typealias Input = Lifecycle.Input

    static var toLaunching: [Input] { [.start(survivor: false), .prepared] }
    static var toBooting: [Input] { toLaunching + [.launched] }
    static var toProvisioning: [Input] { toBooting + [.guestIsProvisioning] }
    static var toConfirming: [Input] { toProvisioning + [.guestIsReady] }
    static var toRunning: [Input] { toConfirming + [.accessConfirmed] }

    /// A state machine that has handled these inputs.
    func machine(_ inputs: [Input]) -> Lifecycle {
        var lifecycle = Lifecycle()
        for input in inputs { _ = lifecycle.handle(input) }
        return lifecycle
    }
}
