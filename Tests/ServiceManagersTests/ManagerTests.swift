import HostModel
import HostOS
import HostTestSupport
import ServiceManagers
import Testing

@Suite struct SystemdStatusTests {
    /// The output of systemd 252 for a unit that runs, a unit that waits for its next try, and a unit it does not know.
    private static let shown = """
        MainPID=188
        NRestarts=2
        Result=success
        RestartUSec=100ms
        ExecMainStatus=0
        Id=lima-vm@a.service
        LoadState=loaded
        ActiveState=active
        SubState=running
        UnitFileState=enabled
        StateChangeTimestamp=@1795253079

        MainPID=0
        NRestarts=4
        Result=exit-code
        RestartUSec=1min 30s
        ExecMainStatus=1
        Id=lima-vm@b.service
        LoadState=loaded
        ActiveState=activating
        SubState=auto-restart
        UnitFileState=disabled
        StateChangeTimestamp=@1000

        Id=lima-vm@c.service
        LoadState=not-found
        ActiveState=inactive
        SubState=dead
        Result=success
        StateChangeTimestamp=
        """

    @Test func whatShowPrints() {
        let known = SystemdStatus.parse(Self.shown)
        #expect(
            known["lima-vm@a.service"]
                == ManagerStatus(
                    isEnabled: true, isLoaded: true, activity: .active, pid: 188, since: 1_795_253_079, restarts: 2))
        #expect(
            known["lima-vm@b.service"]
                == ManagerStatus(
                    isEnabled: false, isLoaded: true, activity: .waiting, since: 1000, restarts: 4,
                    lastFailure: "the agent ended with status 1", exitStatus: 1, nextTry: 1090))
        #expect(known["lima-vm@c.service"] == ManagerStatus(isEnabled: false, isLoaded: false, activity: .inactive))
        #expect(known.count == 3)
        #expect(SystemdStatus.parse("") == [:] && SystemdStatus.parse("nonsense\n\nId") == [:])
    }

    @Test func timeSpans() {
        for (text, seconds) in [("1s", 1), ("100ms", 0.1), ("1min 30s", 90), ("2min", 120), ("1h", 3600)] {
            #expect(SystemdStatus.span(text) == seconds)
        }
        #expect(SystemdStatus.span("infinity") == nil)
    }

    @Test func theUnitsOwnJob() {
        let unit = "lima-vm@a.service"
        #expect(SystemdJob.isStopping(unit, jobs: "12 lima-vm@a.service stop running\n"))
        #expect(SystemdJob.isStopping(unit, jobs: "3 x.service start waiting\n12 lima-vm@a.service restart waiting"))
        for jobs in ["", "12 lima-vm@a.service start running", "12 lima-vm@aa.service stop running", "stop"] {
            #expect(!SystemdJob.isStopping(unit, jobs: jobs), "\(jobs)")
        }
    }
}

@Suite struct LaunchdTextTests {
    private func registration(_ condition: AutostartCondition, _ policy: KeepAlive) throws -> Registration {
        Registration(
            instance: try InstanceName("my-vm.2_x"), condition: condition,
            account: Account(name: "ada", uid: 501, home: "/Users/ada"), binary: "/opt/a & <b>/hostagent",
            limaHome: "/Users/ada/.lima", searchPath: "/usr/bin",
            keepAlive: policy,
            stopGrace: 90)
    }

    @Test func aLoginJob() throws {
        let job = LaunchdJob(try registration(.login, .onFailure))
        #expect(job.Label == "io.lima-vm.autostart.my-vm.2_x")
        #expect(job.ProgramArguments == ["/opt/a & <b>/hostagent", "start", "my-vm.2_x", "--foreground", "--progress"])
        #expect(job.UserName == nil && job.LimitLoadToSessionType == ["Aqua", "Background"])
        #expect(job.ExitTimeOut == 110 && job.AbandonProcessGroup && job.KeepAlive == .afterFailure)
        let text = try job.text
        #expect(text.contains("<string>/opt/a &amp; &lt;b&gt;/hostagent</string>"), "user data is encoded")
        #expect(LaunchdJob(text: Array(text.utf8)) == job)
    }

    @Test func policiesAndBoot() throws {
        let boot = LaunchdJob(try registration(.boot, .always))
        #expect(boot.Label == "io.lima-vm.daemon.my-vm.2_x" && boot.UserName == "ada")
        #expect(boot.LimitLoadToSessionType == nil && boot.KeepAlive == .afterFailure)
        // launchd has the same setting for two policies, and it has no order.
        #expect(boot.terms.differences(keepAlive: .onFailure, after: [], before: [], stopGrace: 90) == [])
        #expect(boot.terms.differences(keepAlive: .no, after: [], before: [], stopGrace: 90) == ["keepAlive"])
        #expect(boot.terms.differences(keepAlive: .always, after: [], before: [], stopGrace: 30) == ["stopGrace"])
        let never = LaunchdJob(try registration(.login, .no))
        let read = LaunchdJob(text: Array(try never.text.utf8))
        #expect(never.KeepAlive == .never && read == never)
        #expect(LaunchdJob(text: Array("<plist><dict></dict></plist>".utf8)) == nil, "somebody else's")
    }

    @Test func whatPrintPrints() {
        let running = LaunchdPrint("gui/501/x = {\n\tstate = running\n\truns = 3\n\tpid = 77\n\tlast exit code = 1\n}")
        #expect(running.status.activity == .active && running.pid == 77 && running.status.restarts == 2)
        #expect(LaunchdPrint("\tstate = not running\n\tlast exit code = 0").status.activity == .inactive)
        let failed = LaunchdPrint("\tstate = not running\n\tlast exit code = 1: Operation not permitted").status
        #expect(failed.activity == .failed && failed.exitStatus == 1)
        #expect(
            LaunchdPrint("\tstate = spawn scheduled\n\tlast exit code = (never exited)").status.activity == .waiting)
    }

    /// The output that users of macOS 10.10 to 26 report.
    @Test func jobsThatAreOnTheirWayOrWereKilled() {
        let draining = LaunchdPrint("\tstate = SIGTERMed\n\truns = 1\n\tpid = 77")
        #expect(draining.status.activity == .stopping && draining.isDraining && !draining.status.isDown)
        #expect(LaunchdPrint("\tstate = SIGKILLed\n\tpid = 77").isDraining)
        for word in ["spawning", "xpcproxy"] {
            #expect(LaunchdPrint("\tstate = \(word)\n\tpid = 7").status.activity == .starting)
        }
        #expect(LaunchdPrint("\tstate = something new\n\tpid = 7").status.activity == .active, "it has a process")
        let killed = LaunchdPrint("\tstate = not running\n\tlast terminating signal = Killed: 9").status
        #expect(killed.activity == .failed && killed.lastFailure == "the agent was ended by Killed: 9")
        let reason = LaunchdPrint("\tstate = not running\n\tlast exit reason = OS_REASON_CODESIGNING").status
        #expect(reason.activity == .failed && reason.lastFailure?.contains("OS_REASON_CODESIGNING") == true)
        let loop = LaunchdPrint("\tstate = spawn scheduled\n\truns = 3812\n\tlast exit code = 78: EX_CONFIG").status
        #expect(loop.activity == .waiting && loop.lastFailure?.contains("again and again (3812 times)") == true)
        #expect(LaunchdPrint("\tstate = spawn scheduled\n\truns = 1").status.lastFailure == nil)
    }

    @Test func overrides() {
        let text = """
            disabled services = {
            \t"io.lima-vm.autostart.a" => disabled
            \t"b" => enabled
            \t"c" => true
            }
            """
        #expect(LaunchdPrint.disabledLabels(text) == ["io.lima-vm.autostart.a", "c"])
    }

    @Test func everyCodeHasASentence() {
        for code in LaunchdCode.allCases { #expect(code.meaning.count > 10) }
        #expect([114, 122, 134, 155].allSatisfy { LaunchdCode(rawValue: $0) != nil })
    }

    /// The last line of launchctl's complaint is advice, the first one says what happened.
    @Test func anUnknownCodeIsShownWithTheFirstLine() {
        func refusal(_ status: Int32) -> Launchctl.Refusal {
            Launchctl.Refusal(
                line: ["bootstrap", "gui/501", "/x"],
                result: .init(
                    status: status, output: "",
                    error: "Bootstrap failed: 99: Odd\nTry re-running the command as root.\n"))
        }
        #expect(refusal(99).error.message == "launchctl bootstrap gui/501 /x: Bootstrap failed: 99: Odd")
        #expect(refusal(99).error.hint == "launchctl error 99 describes the code" && !refusal(99).isOfBusyJob)
        #expect([5, 36, 37].allSatisfy { refusal($0).isOfBusyJob })
        #expect(refusal(1).error.code == .notPermitted)
    }
}

@Suite struct DelegationTests {
    @Test func commandLines() {
        let unit = "lima-vm@a.service"
        func commands(_ kind: ManagerKind, _ scope: ManagerScope, _ name: String) -> [Tool] {
            StopDelegation.commands(for: .manager(kind: kind, scope: scope, identifier: name))
        }
        #expect(
            commands(.systemd, .user, unit)
                == [Tool("systemctl", ["--user", "stop", "--no-block", "--no-ask-password", unit])])
        #expect(
            commands(.systemd, .system, unit) == [Tool("systemctl", ["stop", "--no-block", "--no-ask-password", unit])])
        #expect(commands(.launchd, .system, "l") == [Tool("launchctl", ["bootout", "system/l"])])
        #expect(
            commands(.launchd, .user, "l")
                == ["gui", "user"].map { Tool("launchctl", ["bootout", "\($0)/\(HostProcess.uid)/l"]) })
        #expect(StopDelegation.commands(for: .person(enclosingUnit: unit)) == [])
    }
}
