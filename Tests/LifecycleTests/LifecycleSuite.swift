import GuestDriver

/// The words of the suites about the state machine, and ways to each of its states.
protocol LifecycleSuite {}

extension LifecycleSuite {
    typealias Action = Lifecycle.Action
    typealias Input = Lifecycle.Input

    static var toLaunching: [Input] { [.start(survivor: false), .prepared] }
    static var toBooting: [Input] { toLaunching + [.launched] }
    static var toProvisioning: [Input] { toBooting + [.guestIsProvisioning] }
    static var toConfirming: [Input] { toProvisioning + [.guestIsReady] }
    static var toRunning: [Input] { toConfirming + [.accessConfirmed] }

    /// A machine that was fed these inputs.
    func machine(_ inputs: [Input]) -> Lifecycle {
        var lifecycle = Lifecycle()
        for input in inputs { _ = lifecycle.handle(input) }
        return lifecycle
    }
}
