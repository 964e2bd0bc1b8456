import HostModel
import HostOS
import HostTestSupport
import ServiceManagers
import Testing

@Suite struct OriginTests {
    typealias Facts = OriginDetector.Facts

    private func origin(_ facts: Facts) throws -> LaunchOrigin {
        try OriginDetector.origin(of: InstanceName("my-vm.2_x"), facts: facts)
    }

    private static let unit = "lima-vm@my-vm.2_x.service"

    @Test func aUserUnit() throws {
        let facts = Facts(
            pid: 7, parent: 5, systemdExecPID: "7", userUnit: Self.unit, systemUnit: "user@1000.service")
        #expect(try origin(facts) == .manager(kind: .systemd, scope: .user, identifier: Self.unit))
        #expect(try origin(facts).autoStartedIdentifier == Self.unit)
    }

    @Test func aSystemUnit() throws {
        #expect(
            try origin(Facts(pid: 7, parent: 1, systemdExecPID: "7", systemUnit: Self.unit))
                == .manager(kind: .systemd, scope: .system, identifier: Self.unit))
    }

    @Test(
        arguments: [
            // A child of the unit's main process inherits the variable, but it has another pid.
            (Facts(pid: 8, parent: 7, systemdExecPID: "7", systemUnit: unit), unit),
            // The process is in a terminal's scope, in a session, in another instance's unit, or in some other service.
            (Facts(pid: 7, parent: 6, userUnit: "app-term.scope", systemUnit: "user@1000.service"), "app-term.scope"),
            (Facts(pid: 7, parent: 6, systemUnit: "session-2.scope"), "session-2.scope"),
            (
                Facts(pid: 7, parent: 1, systemdExecPID: "7", systemUnit: "lima-vm@other.service"),
                "lima-vm@other.service"
            ),
            (Facts(pid: 7, parent: 1, systemdExecPID: "7", systemUnit: "cron.service"), "cron.service"),
            // sd_pid_get_unit alone would give this answer for every user unit.
            (
                Facts(pid: 7, parent: 5, systemdExecPID: "7", userUnit: "other.service", systemUnit: unit),
                "other.service"
            ),
            // Without the variable nothing is certain, so the process counts as started by a person.
            (Facts(pid: 7, parent: 1, systemUnit: unit), unit),
            (Facts(pid: 7, parent: 1), nil),
        ] as [(Facts, String?)])
    func people(_ facts: Facts, _ enclosing: String?) throws {
        #expect(try origin(facts) == .person(enclosingUnit: enclosing))
        #expect(try origin(facts).autoStartedIdentifier == nil)
    }

    @Test(arguments: [("io.lima-vm.autostart.my-vm.2_x", ManagerScope.user), ("io.lima-vm.daemon.my-vm.2_x", .system)])
    func launchdJobs(_ label: String, _ scope: ManagerScope) throws {
        #expect(
            try origin(Facts(pid: 7, parent: 1, xpcServiceName: label))
                == .manager(kind: .launchd, scope: scope, identifier: label))
        #expect(
            try origin(Facts(pid: 7, parent: 6, xpcServiceName: label)) == .person(enclosingUnit: nil),
            "children inherit the variable")
    }

    @Test(arguments: ["0", "application.com.apple.Terminal", "io.lima-vm.autostart.other", ""])
    func otherLaunchdNames(_ label: String) throws {
        #expect(try origin(Facts(pid: 7, parent: 1, xpcServiceName: label)) == .person(enclosingUnit: nil))
    }

    @Test func thisVeryTestWasStartedByAPerson() throws {
        let facts = Facts.current(environment: [:])
        #expect(try origin(facts).autoStartedIdentifier == nil)
    }
}

@Suite struct SystemdUnitTests {
    private func registration(
        _ name: String = "default", scope: ManagerScope, grace: Int = 90
    ) throws -> Registration {
        Registration(
            instance: try InstanceName(name), condition: scope == .user ? .login : .boot,
            account: Account(name: "ada", uid: 1000, home: "/home/a%b"), binary: "/opt/host agent/$x/hostagent",
            limaHome: "/home/a%b/.lima", searchPath: "/usr/bin:/bin",
            keepAlive: .onFailure, stopGrace: grace)
    }

    private func unit(_ name: String = "default", scope: ManagerScope, grace: Int = 90) throws -> SystemdUnit {
        SystemdUnit(try registration(name, scope: scope, grace: grace))
    }

    @Test func everyMarkIsFilledIn() throws {
        for scope in ManagerScope.allCases {
            let text = try unit(scope: scope).text
            #expect(try unit(scope: scope).files.map(\.name) == ["lima-vm@default.service"])
            let marks = text.split(whereSeparator: { $0 == " " || $0 == "\n" || $0 == "=" })
                .filter { $0.hasPrefix("@") && $0.hasSuffix("@") && $0.count > 2 }
            #expect(marks == [])
            #expect(text.contains(#"ExecStart="/opt/host agent/$x/hostagent" start default --foreground --progress"#))
            #expect(
                text.contains(#"Environment=LIMA_HOME="/home/a%%b/.lima""#)
                    || text.contains(#"Environment="LIMA_HOME=/home/a%%b/.lima""#))
            #expect(text.contains("KillMode=process"))
            #expect(
                SystemdUnit.facts(ofText: text)
                    == .init(
                        binary: "/opt/host agent/$x/hostagent", limaHome: "/home/a%b/.lima",
                        owner: scope == .system ? "ada" : nil,
                        terms: .init(keepAlive: [.onFailure], after: [], before: [])))
            #expect(text.contains("RestartPreventExitStatus=3 64 65 66 69 70 73 75 77"))
        }
    }

    @Test func scopesDiffer() throws {
        let user = try unit(scope: .user).text
        #expect(user.contains("WantedBy=default.target") && !user.contains("User="))
        let system = try unit(scope: .system).text
        #expect(system.contains("WantedBy=multi-user.target") && system.contains("\nUser=ada\n"))
    }

    @Test func orderAmongInstancesAndWithMounts() throws {
        var registration = try registration(scope: .system)
        registration.after = [try InstanceName("db"), try InstanceName("my-vm.2_x")]
        registration.before = [try InstanceName("web")]
        let text = try SystemdUnit(registration).text
        #expect(text.contains("\nAfter=lima-vm@db.service lima-vm@my-vm.2_x.service\nBefore=lima-vm@web.service\n"))
        let terms = SystemdUnit.facts(ofText: text).terms
        let (after, before) = (registration.after, registration.before)
        #expect(terms == .init(keepAlive: [.onFailure], after: after, before: before))
        #expect(terms.differences(keepAlive: .onFailure, after: after, before: before, stopGrace: 30) == [])
        #expect(
            terms.differences(keepAlive: .always, after: before, before: after, stopGrace: 30) == [
                "keepAlive", "after", "before",
            ])
        #expect(
            text.contains("\nRequiresMountsFor=/home/a%%b/.lima\n") || text.contains("RequiresMountsFor=\"/home/a%%b"))
        registration.scope = .user
        #expect(try !SystemdUnit(registration).text.contains("RequiresMountsFor"))
    }

    @Test func whoseARegistrationIs() throws {
        func found(_ home: String?, _ owner: String?, ours: Bool = true) throws -> FoundRegistration {
            FoundRegistration(
                instance: try InstanceName("a"), condition: owner == nil ? .login : .boot, identifier: "u", file: "/f",
                isOurs: ours, limaHome: home, owner: owner)
        }
        let ada = Account(name: "ada", uid: 1000, home: "/home/ada")
        let root = Account(name: "root", uid: 0, home: "/root")
        #expect(try found("/h", nil).isFor(home: "/h", of: ada))
        #expect(try !found("/other", nil).isFor(home: "/h", of: ada))
        #expect(try found("/tmp", nil).isFor(home: "/tmp/../tmp/", of: ada), "the same directory by another path")
        #expect(try !found("/h", "bob").isFor(home: "/h", of: ada))
        #expect(try found("/h", "bob").isFor(home: "/h", of: root))
        #expect(try !found("/h", nil, ours: false).isFor(home: "/h", of: ada))
    }

    @Test func aUserUnitNeverStopsLongerThanItsManagerDoes() throws {
        #expect(try unit(scope: .user, grace: 600).text.contains("TimeoutStopSec=110s"))
        #expect(try unit(scope: .system, grace: 600).text.contains("TimeoutStopSec=620s"))
        #expect(SystemdUnit.effectiveGrace(30, scope: .user) == 30)
    }

    /// Paths with characters that people and other programs put into them. systemd itself checks the text.
    @Test(
        .enabled(if: Tool.path(of: "systemd-analyze", in: nil) != nil),
        arguments: ManagerScope.allCases, ["plain", "a b", "100%", "%h", "$x", "$$", "ü", "a;b", "#a", "a=b", "{a}"])
    func systemdItselfFindsNothingWrong(_ scope: ManagerScope, _ part: String) async throws {
        let scratch = try Scratch()
        var registration = try registration("my-vm.2_x", scope: scope)
        registration.binary = "\(scratch.path)/\(part)/hostagent"
        registration.limaHome = "\(scratch.path)/\(part)/q\"'\\"
        registration.account.name = "root"
        try Files.makeDirectory("\(scratch.path)/\(part)")
        try Files.copy("/bin/true", to: registration.binary)
        try Files.setMode(registration.binary, 0o755)
        let unit = SystemdUnit(registration)
        let file = "\(scratch.path)/\(unit.name)"
        try TextFile.replace(file, with: unit.text)
        let result = try await Tool(
            "systemd-analyze", (scope == .user ? ["--user"] : []) + ["verify", "--man=no", file],
            environment: ["XDG_RUNTIME_DIR": scratch.path]
        ).run()
        // Complaints about units that are not ours do not count.
        let ours = (result.output + result.error).split(separator: "\n").filter { $0.contains("lima-vm@") }
        #expect(ours == [])
        #expect(try SystemdUnit.facts(ofText: unit.text).binary == registration.binary)
        #expect(try SystemdUnit.facts(ofText: unit.text).limaHome == registration.limaHome)
    }

    @Test(arguments: ["/opt/a\"b/hostagent", "/opt/a'b/hostagent", "/opt/a\\b/hostagent", "/opt/a\nb/hostagent"])
    func pathsThatNoUnitCanExecuteAreRefused(_ path: String) throws {
        var registration = try registration(scope: .user)
        registration.binary = path
        let error = #expect(throws: HostError.self) { try SystemdUnit(registration).text }
        #expect(error?.code == .usage && error?.message.contains("the path of hostagent") == true)
    }

    @Test(arguments: ["/usr/bin\nExecStartPre=/bin/touch /tmp/owned", "/usr/bin\u{1b}[2J", "/a\u{85}b", "/a\0b"])
    func noTextInjectsALine(_ path: String) throws {
        for scope in ManagerScope.allCases {
            var registration = try registration(scope: scope)
            registration.searchPath = path
            let error = #expect(throws: HostError.self) { try SystemdUnit(registration).text }
            #expect(error?.message.hasPrefix("PATH is") == true)
            #expect(throws: HostError.self) { try LaunchdJob(registration).text }
        }
    }

    @Test func needsAreRendered() throws {
        var registration = try registration(scope: .system)
        registration.needs = .init(
            writablePaths: ["/srv/a b"], devices: ["/dev/kvm", "/dev/fuse"], newPrivileges: true)
        #expect(try SystemdUnit(registration).text.contains("\nRestrictNamespaces=yes\n"))
        #expect(try SystemdUnit(registration).text.contains("\nPrivateTmp=yes\n"))
        #expect(try SystemdUnit(registration).text.contains("\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"))
        (registration.needs.namespaces, registration.needs.netlink) = (true, true)
        registration.needs.readablePaths = ["/tmp/shared"]
        let text = try SystemdUnit(registration).text
        #expect(text.contains("\nRestrictNamespaces=user mnt ipc uts pid\n"))
        #expect(text.contains("\nSystemCallFilter=@system-service seccomp @mount\n") && !text.contains("PrivateTmp"))
        #expect(text.contains(#" "-/srv/a b""#) && text.contains("DeviceAllow=/dev/fuse rw\n"))
        #expect(text.contains(" AF_INET6 AF_NETLINK\n"))
        #expect(!text.contains("NoNewPrivileges"))
        #expect(try unit(scope: .user).text.contains("\nNoNewPrivileges=yes\n"))
    }
}

@Suite struct NotifierTests {
    @Test func whatIsSent() async {
        let (stream, continuation) = AsyncStream.makeStream(of: String.self)
        let notifier = Notifier { continuation.yield($0) }
        notifier.status("booting, 12 s")
        notifier.ready(status: "running")
        notifier.extendTimeout(seconds: 90)
        notifier.feedWatchdog()
        notifier.stopping(status: "stopping\nnow")
        continuation.finish()
        var sent: [String] = []
        for await message in stream { sent.append(message) }
        #expect(
            sent == [
                "STATUS=booting, 12 s", "READY=1\nSTATUS=running", "EXTEND_TIMEOUT_USEC=90000000", "WATCHDOG=1",
                "STOPPING=1\nSTATUS=stopping now",
            ])
    }
}
