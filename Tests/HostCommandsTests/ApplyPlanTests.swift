import AgentAPI
import HostModel
import InstanceOperations
import LimaConfiguration
import Testing

@Suite struct ApplyPlanTests {
    private typealias Life = ApplyObservation.Life

    private func steps(
        _ state: DesiredInstance.State, _ life: ApplyObservation.Life, reach: DesiredInstance.Reach = .live,
        _ change: (inout ApplyObservation) -> Void = { _ in }
    ) throws -> [ApplyStep] {
        var desired = DesiredInstance(name: try InstanceName("a"))
        desired.template = "mini"
        (desired.state, desired.reach) = (state, reach)
        var observation = ApplyObservation(life: life)
        change(&observation)
        return try ApplyPlan.steps(to: desired, from: observation)
    }

    /// Every state, from every life, with nothing to change.
    @Test func fromEveryLifeToEveryState() throws {
        let table: [(Life, [DesiredInstance.State: [ApplyStep]])] = [
            (
                .missing,
                [
                    .present: [.create], .started: [.create, .start], .stopped: [.create],
                    .restarted: [.create, .start], .absent: [],
                ]
            ),
            (.stopped, [.present: [], .started: [.start], .stopped: [], .restarted: [.start], .absent: [.delete]]),
            (
                .starting,
                [
                    .present: [], .started: [.start], .stopped: [.stop], .restarted: [.restart],
                    .absent: [.stop, .delete],
                ]
            ),
            (
                .stopping,
                [
                    .present: [], .started: [.start], .stopped: [.stop], .restarted: [.restart],
                    .absent: [.stop, .delete],
                ]
            ),
            (
                .running,
                [.present: [], .started: [], .stopped: [.stop], .restarted: [.restart], .absent: [.stop, .delete]]
            ),
            (
                .orphaned,
                [
                    .present: [], .started: [.start], .stopped: [.stop], .restarted: [.restart],
                    .absent: [.stop, .delete],
                ]
            ),
        ]
        #expect(Set(table.map(\.0)).count == Life.allCases.count)
        for (life, row) in table {
            for state in DesiredInstance.State.allCases {
                #expect(try steps(state, life) == row[state], "\(life) to \(state)")
            }
        }
    }

    /// How far a change is carried into a guest that runs.
    @Test func changes() throws {
        func steps(_ state: DesiredInstance.State, _ reach: DesiredInstance.Reach, restart: Bool) throws -> [ApplyStep]
        {
            try self.steps(state, .running, reach: reach) {
                $0.changedKeys = ["cpus"]
                $0.isLoaded = false
                $0.keysThatNeedRestart = restart ? ["cpus"] : []
            }
        }
        for state in [DesiredInstance.State.present, .started] {
            #expect(try steps(state, .none, restart: true) == [.configure])
            #expect(try steps(state, .live, restart: true) == [.configure, .reload])
            #expect(try steps(state, .restart, restart: true) == [.configure, .restart])
            #expect(try steps(state, .restart, restart: false) == [.configure, .reload])
        }
        for reach in DesiredInstance.Reach.allCases {
            #expect(try steps(.stopped, reach, restart: true) == [.configure, .stop])
            #expect(try steps(.restarted, reach, restart: true) == [.configure, .restart])
            #expect(try steps(.absent, reach, restart: true) == [.stop, .delete])
        }
        #expect(try self.steps(.started, .stopped) { $0.changedKeys = ["cpus"] } == [.configure, .start])
    }

    /// A run that was cut between two steps is finished by the next one.
    @Test func whatAnEarlierRunLeft() throws {
        #expect(try steps(.started, .running) { $0.isLoaded = false } == [.reload])
        #expect(try steps(.started, .running, reach: .none) { $0.isLoaded = false } == [])
        #expect(try steps(.present, .running, reach: .restart) { $0.keysThatNeedRestart = ["cpus"] } == [.restart])
        #expect(try steps(.started, .running) { $0.keysThatNeedRestart = ["cpus"] } == [])
    }

    /// A guest that is being started was started with the old configuration.
    @Test func aGuestThatIsBeingStarted() throws {
        func change(_ observation: inout ApplyObservation) {
            observation.changedKeys = ["cpus"]
            observation.isLoaded = false
            observation.keysThatNeedRestart = ["cpus"]
        }
        #expect(try steps(.started, .starting, reach: .restart, change) == [.configure, .restart])
        #expect(try steps(.started, .starting, reach: .live, change) == [.configure, .start, .reload])
        #expect(try steps(.present, .starting, reach: .none, change) == [.configure])
        #expect(try steps(.started, .stopping, reach: .restart, change) == [.configure, .start])
        #expect(try steps(.started, .orphaned, reach: .restart, change) == [.configure, .restart])
        #expect(try steps(.started, .orphaned, reach: .live, change) == [.configure, .start])
        var patient = DesiredInstance(name: try InstanceName("a"))
        patient.state = .started
        patient.waits = false
        #expect(try ApplyPlan.steps(to: patient, from: ApplyObservation(life: .starting)) == [])
    }

    /// An agent of another version has another digest of the same file, and none of that is a change.
    @Test(arguments: [
        ("1", "other", false, false), ("1", "same", true, true), ("0", "other", true, true),
        ("0", "other", false, false),
    ])
    func agentsOfOtherVersions(_ version: String, _ digest: String, isSame: Bool, isLoaded: Bool) throws {
        let digests = KeyDigests()
        let info = AgentInfo(
            instance: try InstanceName("a"), dir: "/h/a", driver: "qemu", phase: .running, errors: [], sshLocalPort: 1,
            agentPID: 2, guestPID: 3, version: version, run: "r", startedAt: "t", readyAt: nil, accelerator: .tcg,
            pending: [.init(key: "cpus", until: .restart), .init(key: "disk", until: .creation)],
            configuration: .init(loaded: digest == "same" ? digests.combined : digest, startedWith: nil),
            capabilities: .init(canSuspend: .yes, outlivesAgent: .yes), origin: .person(enclosingUnit: nil))
        var observation = ApplyObservation(life: .running)
        observation.compare(digests, with: info, isSame: isSame, version: "1")
        #expect(observation.isLoaded == isLoaded)
        #expect(observation.keysThatNeedRestart == ["cpus"])
    }

    @Test func refusals() throws {
        let error = #expect(throws: HostError.self) { try steps(.absent, .stopped) { $0.isProtected = true } }
        #expect(error?.code == .notPermitted && error?.hint == "hostagent unprotect a")
        #expect(try steps(.stopped, .running) { $0.isProtected = true } == [.stop])
        let nothing = #expect(throws: HostError.self) {
            try ApplyPlan.steps(to: DesiredInstance(name: InstanceName("a")), from: ApplyObservation(life: .missing))
        }
        #expect(nothing?.code == .noSuchInstance && nothing?.message.contains("what to make it from") == true)
    }
}
