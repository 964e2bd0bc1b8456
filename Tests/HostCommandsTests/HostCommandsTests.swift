import AgentAPI
import Foundation
import HostCommands
import HostModel
import InstanceOperations
import Testing

@Suite struct ListFormatTests {
    private func row(_ name: String, _ status: InstanceStatus, errors: [String]? = nil) -> InstanceRow {
        InstanceRow(
            name: name, hostname: "lima-\(name)", status: status, dir: "/h/\(name)", vmType: "qemu", arch: "x86_64",
            cpus: status == .broken ? nil : 2, memory: status == .broken ? nil : 256 << 20,
            disk: status == .broken ? nil : 64 << 20, sshLocalPort: status == .running ? 60022 : nil, errors: errors,
            protected: false)
    }

    private var rows: [InstanceRow] { [row("a", .running), row("long-name", .broken, errors: ["no lima.yaml"])] }

    @Test func aTableIsAlignedAndSaysWhatIsWrong() throws {
        #expect(
            try ListFormat("table").render(rows) == """
                NAME         STATUS     SSH                VMTYPE    ARCH      CPUS    MEMORY    DISK     DIR
                a            Running    127.0.0.1:60022    qemu      x86_64    2       256MiB    64MiB    /h/a
                long-name    Broken     127.0.0.1:0        qemu      x86_64    -       -         -        /h/long-name
                    no lima.yaml

                """)
    }

    @Test func jsonHasLimasKeysOneObjectALine() throws {
        let lines = try ListFormat("json").render(rows).split(separator: "\n")
        #expect(lines.count == 2)
        let first = try #require(try JSONSerialization.jsonObject(with: Data(lines[0].utf8)) as? [String: Any])
        #expect(
            Set(first.keys) == [
                "name", "hostname", "status", "dir", "vmType", "arch", "cpus", "memory", "disk", "sshLocalPort",
                "protected",
            ])
    }

    @Test(arguments: [
        ("{{.Name}}", "a\nlong-name\n"), ("{{ .Status }}:{{.SSHLocalPort}}", "Running:60022\nBroken:\n"),
        ("x\\t{{.CPUs}}", "x\t2\nx\t\n"), ("{{.Errors}}", "\n[no lima.yaml]\n"), ("{{.Protected}}", "false\nfalse\n"),
        ("{{json .Name}} {{json .Errors}} {{json .CPUs}}", "\"a\" null 2\n\"long-name\" [\"no lima.yaml\"] null\n"),
    ])
    func templates(_ format: String, _ expected: String) throws {
        #expect(try ListFormat(format).render(rows) == expected)
    }

    @Test func wholeAsJSON() throws {
        #expect(try ListFormat("{{json .}}").render(rows) == ListFormat("json").render(rows))
        #expect(try ListFormat("yaml").render(rows).hasPrefix("---\narch: x86_64\n"))
    }

    @Test(arguments: [
        "", "xml", "{{.Nope}}", "{{range .}}", "{{", "{{.Name", "{{json .Nope}}", "{{json Name}}", "{{.name}}", "Name",
    ])
    func anythingElseIsAUsageError(_ format: String) {
        let error = #expect(throws: HostError.self) { try ListFormat(format) }
        #expect(error?.exitStatus == .usage)
    }
}

@Suite struct EventTextTests {
    private func record(_ event: AgentEvent, phase: Phase, elapsed: Double = 2.5) -> EventRecord {
        EventRecord(event, run: "r", seq: 1, phase: phase, standing: .init(), elapsed: elapsed, time: Date())
    }

    @Test func linesAreAligned() {
        #expect(EventText.lines(record(.phaseChanged(.booting), phase: .booting)) == ["  2.50 s  booting"])
        #expect(
            EventText.lines(record(.failure("a\nb"), phase: .failed, elapsed: 123.456))
                == ["123.46 s  error: a", "          b"])
    }

    @Test func progressStandsOnlyWhileSomethingIsUnderWay() {
        #expect(EventText.progress(record(.phaseChanged(.booting), phase: .booting)) == "  2.50 s  booting …")
        #expect(EventText.progress(record(.guestLog(line: "x"), phase: .booting)) == "  2.50 s  booting: x")
        for phase in [Phase.running, .degraded, .stopped, .failed] {
            #expect(EventText.progress(record(.phaseChanged(phase), phase: phase)) == nil)
        }
    }
}

@Suite struct CommandLineTests {
    @Test(arguments: [
        [], ["start", "--timeout", "0"], ["start", "--timeout", "x"], ["start", "--timeout", "25h"], ["nonsense"],
        ["create"], ["start", "a", "b"],
        ["events", "--since", "-1"], ["delete"], ["delete", "--force"], ["list", "--format"],
        ["stop", "--no-such-flag"],
    ])
    func usageErrorsAre64(_ arguments: [String]) async {
        let status = await HostAgentCommand.run(program: "hostagent", arguments)
        // Without a command the program shows its help, as tools of this kind do.
        #expect(status == (arguments.isEmpty ? 0 : 64))
    }

    @Test(arguments: [
        (["create", "--name=", "x"], ["create", "--name", "", "x"]),
        (["shell", "--workdir=", "m", "ls", "--x="], ["shell", "--workdir", "", "m", "ls", "--x="]),
        (["shell", "m", "--", "--x="], ["shell", "m", "--", "--x="]),
        (["list", "--", "--x="], ["list", "--", "--x="]),
    ])
    func anEmptyValueIsAValue(_ given: [String], _ expected: [String]) throws {
        for program in ["hostagent", "/usr/bin/limactl"] {
            #expect(try LimaNames(program: program, given, [:]).arguments == expected)
        }
    }

    @Test(arguments: [["--version"], ["--help"], ["help"], ["start", "--help"], ["list", "-h"]])
    func helpIsASuccess(_ arguments: [String]) async {
        #expect(await HostAgentCommand.run(program: "hostagent", arguments) == 0)
    }
}
