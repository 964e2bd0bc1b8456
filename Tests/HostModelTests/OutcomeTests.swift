import HostModel
import Testing

@Suite struct OutcomeTests {
    static let outcomes: [(Outcome, HostExitStatus)] = [
        (.stopped, .stoppedOnRequest), (.poweredOff, .success), (.guestLost(reason: "x"), .failure),
        (.startFailed(code: .failed, reason: "x"), .failure),
        (.startFailed(code: .badConfiguration, reason: "x"), .badConfiguration),
        (.startFailed(code: .unavailable, reason: "x"), .unavailable),
    ]

    @Test(arguments: outcomes, KeepAlive.allCases)
    func underSystemdTheStatusIsTheTruth(_ row: (Outcome, HostExitStatus), _ policy: KeepAlive) {
        #expect(row.0.exitStatus(keepAlive: policy, manager: .systemd) == row.1)
        #expect(row.0.exitStatus(keepAlive: policy, manager: .none) == row.1)
    }

    /// launchd restarts only after a non-zero status, so the status is 1 exactly where a restart is wanted.
    @Test(arguments: outcomes, KeepAlive.allCases)
    func underLaunchdItIsTheWishForARestart(_ row: (Outcome, HostExitStatus), _ policy: KeepAlive) {
        let wanted =
            policy != .no && (row.1 == .failure || (policy == .always && row.1 == .success))
        #expect(row.0.exitStatus(keepAlive: policy, manager: .launchd) == (wanted ? .failure : .success))
    }

    @Test(arguments: HostError.Code.allCases)
    func everyErrorHasAStatusOfItsOwn(_ code: HostError.Code) {
        let status = HostError(code, "x").exitStatus
        #expect(status != .success && status != .stoppedOnRequest)
        #expect(HostError.Code.allCases.filter { HostError($0, "").exitStatus == status } == [code])
    }

    @Test func theLadderIsOrdered() {
        #expect(StopStep.allCases == StopStep.allCases.sorted())
        #expect(StopStep.ask < .kill && !(StopStep.kill < .ask) && !(StopStep.ask < .ask))
    }
}
