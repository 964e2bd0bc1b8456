import HostCommands
import HostModel
import Testing

@Suite struct QueryTests {
    private static let document =
        #"{"name":"foo","cpus":4,"disk":3145728,"running":true,"message":null,"errors":["one","two"],"#
        + #""config":{"user":{"name":"a b","uid":501},"env":{}},"list":[3,1,2,1]}"#

    @Test(arguments: [
        (".", document), (".name", "foo"), (".config.user.uid", "501"), (#".config.user."name""#, "a b"),
        (#".config["user"].name"#, "a b"), (".errors[0]", "one"), (".errors[-1]", "two"), (".errors[7]", "null"),
        (".errors[]", "one\ntwo"), (".nothing.below", "null"), (".errors", #"["one","two"]"#),
        (#".name == "foo""#, "true"), (".cpus != 4", "false"), (".disk > 1024*1024", "true"), (".cpus <= 3", "false"),
        (".cpus >= 4 and .running", "true"), (".cpus < 4 or .message", "false"), (".message // \"none\"", "none"),
        (".cpus + 1 * 2", "6"), ("(.cpus + 1) * 2", "10"), (".cpus / 8", "0.5"), (".cpus - 5", "-1"),
        (#".name + "bar""#, "foobar"), (#"select(.name == "foo") | .cpus"#, "4"), ("select(.cpus > 4)", ""),
        (#".name | test("^f.o$")"#, "true"), (#".name | test("z")"#, "false"), (".name | length", "3"),
        (#".name | contains("oo")"#, "true"), (#".errors | contains("two")"#, "true"),
        (".config | keys", #"["user","env"]"#), (#".config | has("user")"#, "true"), (".running | not", "false"),
        (".list | sort", "[1,1,2,3]"), (".list | unique", "[3,1,2]"), (".list | first", "3"), (".list | last", "1"),
        (".list | map(. * 2)", "[6,2,4,2]"), (#".errors | join("+")"#, "one+two"),
        (#".config.user.name | split(" ")"#, #"["a","b"]"#), (".name | upcase", "FOO"),
        (".errors[] | select(. != \"one\")", "two"), ("[.name, .cpus]", #"["foo",4]"#), ("[]", "[]"),
        ("true", "true"), ("null", "null"), (" .name|length ", "3"), (".config.env", "{}"),
    ])
    func answers(_ text: String, _ expected: String) throws {
        let results = try Query(text).results(on: QueryValue(json: Self.document))
        #expect(results.map(\.line).joined(separator: "\n") == expected)
    }

    /// An operation that is not known is refused; it is never ignored.
    @Test(arguments: [
        "", ".name ==", ".a[", ".a[x]", "(.a", "env(HOME)", #"load("/etc/passwd")"#, "select", "select(.a", "foo",
        ".a = 1", ".a |= 1", "del(.a)", ".name |", #"."a"#, ".name .cpus", "$x", "..", ".a |= ",
        String(repeating: "(", count: 5000), String(repeating: "[", count: 8000),
    ])
    func whatIsNotKnownIsRefused(_ text: String) {
        let error = #expect(throws: HostError.self) { try Query(text) }
        #expect(error?.code == .usage)
    }

    @Test(arguments: [".name.x", ".name[0]", ".cpus[]", ".cpus | keys", #".cpus | test("x")"#, #".name | test("(")"#])
    func whatAValueDoesNotHaveIsSaid(_ text: String) throws {
        let query = try Query(text)
        let value = try QueryValue(json: Self.document)
        let error = #expect(throws: HostError.self) { try query.results(on: value) }
        #expect(error?.code == .usage)
    }

    @Test func yamlHasTheSameValues() throws {
        let value = try QueryValue(json: #"{"a":"yes","b":"1","c":1,"d":[],"e":{"f":null},"g":"x: y"}"#)
        #expect(try QueryValue(json: value.yaml) == value)
        let odd = try QueryValue(
            json: "{\"a\":\"\u{7f}\u{85}\u{9b}\u{2028}\u{fffe}ä😀\",\"\(String(repeating: "k", count: 1100))\":1}")
        #expect(try Query(".a").results(on: odd).map(\.line) == ["\u{7f}\u{85}\u{9b}\u{2028}\u{fffe}ä😀"])
        let script = try QueryValue(json: ##"{"s":"#!/bin/sh\n\techo \"x\"  \n# ä\u009b\n","t":"a\nb\n"}"##)
        #expect(try QueryValue(json: script.yaml) == script)
        #expect(try script.yaml.contains("|\n  a\n  b\n"))
    }
}

@Suite struct ShellEnvironmentTests {
    private func chosen(_ variables: [String: String]) throws -> [String] {
        try ShellEnvironment(variables).chosen(from: variables).map(\.name)
            .filter { !$0.hasPrefix("LIMA_SHELLENV_") }
    }

    @Test func theListsOfLima() throws {
        let host = ["FOO": "1", "FOOBAR": "2", "BAR": "3", "SSH_FOO": "4", "PATH": "/", "BASH_FUNC_x%%": "() {}"]
        func with(_ more: [String: String]) throws -> [String] { try chosen(host.merging(more) { $1 }) }
        #expect(try with([:]) == ["BAR", "FOO", "FOOBAR"])
        #expect(try with(["LIMA_SHELLENV_BLOCK": "FOO"]) == ["BAR", "FOOBAR", "PATH", "SSH_FOO"])
        #expect(try with(["LIMA_SHELLENV_BLOCK": "+FOO*, , BAR"]) == [])
        #expect(try with(["LIMA_SHELLENV_BLOCK": "*FOO"]) == ["BAR", "FOOBAR", "PATH"])
        #expect(try with(["LIMA_SHELLENV_ALLOW": "SSH_FOO,BA*"]) == ["BAR", "SSH_FOO"])
        #expect(throws: HostError.self) { try with(["LIMA_SHELLENV_BLOCK": "FOO-BAR"]) }
    }

    @Test(arguments: [
        ("A", "A", true), ("AB", "A", false), ("AB", "A*", true), ("A", "A*", true), ("BA", "*A", true),
        ("XFOOYBARZ", "*FOO*BAR*", true), ("XBARYFOO", "*FOO*BAR*", false), ("FOOXBAR", "FOO*BAR", true),
        ("FOBAR", "FOO*BAR", false), ("FO", "FO*O", false), ("", "*", true), ("ANY", "**", true),
    ])
    func patterns(_ name: String, _ pattern: String, _ expected: Bool) {
        #expect(ShellEnvironment.matches(name, pattern) == expected)
    }
}

@Suite struct LimaNamesTests {
    @Test(arguments: [
        (["start", "--debug", "x"], ["start", "x"]), (["--log-level", "warn", "list"], ["list"]),
        (["--log-format=json", "list", "-q"], ["list", "-q"]),
        (["shell", "vm", "ls", "--debug"], ["shell", "vm", "ls", "--debug"]),
        (["--debug", "shell", "--", "vm", "-y"], ["shell", "--", "vm", "-y"]),
        (["copy", "--", "--debug", "a"], ["copy", "--", "--debug", "a"]),
    ])
    func globalFlagsOfLimactl(_ given: [String], _ expected: [String]) throws {
        #expect(try LimaNames(program: "/usr/bin/limactl", given, [:]).arguments == expected)
        #expect(try LimaNames(program: "hostagent", given, [:]).arguments == given)
    }

    @Test func noQuestions() throws {
        #expect(try LimaNames(program: "limactl", ["list"], [:]).mayAsk)
        for flag in ["-y", "--yes", "--tty=false"] {
            #expect(try !LimaNames(program: "limactl", [flag, "list"], [:]).mayAsk)
        }
        #expect(throws: HostError.self) { try LimaNames(program: "limactl", ["--log-level"], [:]) }
    }

    @Test func limaIsAShell() throws {
        #expect(try LimaNames(program: "lima", ["ls", "-l"], [:]).arguments == ["shell", "default", "ls", "-l"])
        let environment = ["LIMA_INSTANCE": "vm", "LIMA_SHELL": "/bin/zsh", "LIMA_WORKDIR": "/tmp"]
        #expect(
            try LimaNames(program: "./lima", [], environment).arguments == [
                "shell", "--shell", "/bin/zsh", "--workdir", "/tmp", "vm",
            ])
    }
}
