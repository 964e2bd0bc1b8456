import HostModel
import LimaConfiguration
import Testing

@Suite struct DesiredInstanceTests {
    private func read(_ text: String) throws(HostError) -> [DesiredInstance] {
        try DesiredInstance.read(ConfigurationText(text, file: "fleet.yaml"))
    }

    @Test func allKeys() throws {
        let desired = try read(
            """
            instances:
            - name: web
              state: started
              template: debian
              config: {cpus: 2, mounts: []}
              param: {version: 3}
              apply: restart
              wait: false
              timeout: 10m
              force: true
            - {"name": "db"}
            """)
        #expect(desired.map(\.name.text) == ["web", "db"])
        #expect(desired[0].state == .started && desired[0].template == "debian" && desired[0].reach == .restart)
        #expect(desired[0].configuration.map(\.key) == ["cpus", "mounts"])
        #expect(desired[0].parameters.map(\.key) == ["version"] && desired[0].parameters.map(\.value) == ["3"])
        #expect(desired[0].timeout == 600 && desired[0].force && !desired[0].waits)
        #expect(desired[1].state == .present && desired[1].reach == .live && desired[1].waits && !desired[1].force)
    }

    /// What root passes to a process of the owner means the same.
    @Test func theDocumentOfOneInstance() throws {
        let all = try read(
            #"{"instances": [{"name": "a", "config": {"message": "x: #y\n'\"", "cpus": 2, "env": {"A": "true"}}, "#
                + #""param": {"p": "1"}, "timeout": "90s", "force": true, "template": "mini"}]}"#)
        let again = try read(try all[0].document(state: .stopped, reach: .none))
        #expect(again[0].state == .stopped && again[0].reach == .none)
        #expect(again[0].timeout == 90 && again[0].force && again[0].waits && again[0].template == "mini")
        let text = ConfigurationText("images: []\n", file: "lima.yaml")
        #expect(
            try LimaYAML.setting(again[0].configuration, in: text).text.text
                == LimaYAML.setting(all[0].configuration, in: text).text.text)
    }

    @Test(arguments: [
        ("{}", "fleet.yaml:1:1: instances: missing"),
        ("instances: [{}]", "name: missing"),
        ("instances: [{name: a b}]", "a b"),
        ("instances: [{name: a}, {name: a}]", "is in the list twice"),
        ("instances: [{name: a, state: up}]", "instances[0].state: expected present or started"),
        ("instances: [{name: a, stat: up}]", "unknown key; did you mean state?"),
        ("instances: [{name: a, config: [1]}]", "expected a mapping of keys of lima.yaml"),
        ("instances: [{name: a, template: t, config: {base: b}}]", "base cannot be given together with template"),
        ("instances: [{name: a, timeout: 0s}]", "outside"),
        ("instances: [{name: a, force: maybe}]", "expected true or false"),
        ("- name: a", "expected a mapping of keys"),
    ])
    func faults(_ text: String, _ expected: String) throws {
        let error = #expect(throws: HostError.self) { try read(text) }
        #expect(error?.code == .badConfiguration)
        #expect(error?.message.contains(expected) == true, "\(error?.message ?? "")")
    }
}

@Suite struct KeySettingTests {
    private static let text = """
        # what it is for
        cpus: 2 # enough
        memory: 4GiB
        mounts:
        - location: "~"
        param:
          a: "1"
        """

    private func setting(_ values: String) throws -> LimaYAML.KeySetting {
        let values = try ConfigurationNode(parsing: ConfigurationText(values, file: "values")).entries
        return try LimaYAML.setting(values, in: ConfigurationText(Self.text, file: "lima.yaml"))
    }

    @Test func whatIsSoAlreadyChangesNothing() throws {
        for values in [
            "cpus: 2", #"{"memory": "4GiB", "cpus": 2}"#, "mounts: [{location: '~'}]", "disk: null", "disk:",
            #"{"param": {"a": "1"}}"#,
        ] {
            let result = try setting(values)
            #expect(result.changedKeys == [] && result.text.text == Self.text, "\(values)")
        }
    }

    @Test func commentsStay() throws {
        let result = try setting("memory: 8GiB\ndisk: 20GiB")
        #expect(result.changedKeys == ["memory", "disk"])
        #expect(
            result.text.text == Self.text.replacing("memory: 4GiB", with: "memory: 8GiB") + "\ndisk: 20GiB\n")
    }

    @Test func listsAndMappingsAreReplaced() throws {
        let result = try setting("mounts: [{location: /srv}]\nparam: {b: x}")
        #expect(result.changedKeys == ["mounts", "param"])
        let after = try ConfigurationNode(parsing: result.text).entries
        #expect(after.map(\.key) == ["cpus", "memory", "mounts", "param"])
        #expect(!result.text.text.contains("~") && !result.text.text.contains("a: "))
        #expect(result.text.text.hasPrefix("# what it is for\ncpus: 2 # enough\n"))
    }

    @Test func nullRemoves() throws {
        let result = try setting("memory: null\nmounts: ~")
        #expect(result.changedKeys == ["memory", "mounts"])
        #expect(try ConfigurationNode(parsing: result.text).entries.map(\.key) == ["cpus", "param"])
    }

    /// A text that looks like a number is no number.
    @Test func quotationMarksCountWhereTheyChangeTheMeaning() throws {
        #expect(try setting(#"cpus: "2""#).changedKeys == ["cpus"])
        #expect(try setting("param: {a: 1}").changedKeys == ["param"])
        #expect(try setting("param: {a: '1'}").changedKeys == [])
    }

    @Test func parametersAreAdded() throws {
        let text = ConfigurationText(Self.text, file: "lima.yaml")
        let value = try LimaYAML.parameters([("b", "2"), ("a", "3")], in: text)
        let result = try LimaYAML.setting([value], in: text)
        #expect(result.text.text.hasSuffix("param:\n  a: \"3\"\n  b: \"2\"\n"), "\(result.text.text)")
        let same = try LimaYAML.setting([LimaYAML.parameters([("a", "1")], in: text)], in: text)
        #expect(same.changedKeys == [])
        let first = try LimaYAML.setting(
            [LimaYAML.parameters([("a", "1")], in: ConfigurationText("{}", file: "x"))],
            in: ConfigurationText("{}", file: "x"))
        #expect(first.text.text == "param:\n  a: \"1\"\n", "\(first.text.text)")
    }
}
