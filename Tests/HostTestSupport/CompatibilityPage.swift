import LimaConfiguration

/// docs/lima-compatibility.md: the tables of keys for people.
package enum CompatibilityPage {
    package static var text: String {
        """
        # The keys of `lima.yaml` and `hostagent.yaml`

        This page is generated from the tables of keys in `Sources/LimaConfiguration`. A test fails if it is not current;
        `HOSTAGENT_UPDATE_DOCS=1` makes that test write it.

        An instance is configured by `$LIMA_HOME/_config/override.yaml`, its own `lima.yaml` and
        `$LIMA_HOME/_config/default.yaml`. A scalar is taken from the first of these that has it, lists are joined in this
        order, and mappings are merged key by key. Of two rules for one port of the host, that of the earlier file counts. A key that is not in this table is a mistake.

        - **Part**: what the value is for.
        - **Changes count**: *at once* means after `hostagent reload`, also while the guest runs. After a reload,
          `hostagent info` shows the changes that are not in effect as `pending`, with what they wait for.
        - **Support**: keys marked *not yet* are named in a warning and ignored.
        - Texts of the type *template* may contain `{{.Name}}`, `{{.Hostname}}`, `{{.User}}`, `{{.UID}}`,
          `{{.Param.NAME}}`, and, except for `user.home`, `{{.Home}}`. Conditions (`{{if eq .Param.a "b"}}…{{else}}…{{end}}`, with
          `ne`, `not`, `and` and `or`) are those of Go's templates. A script with other text in double braces is used
          as it is, with a warning.

        ## `lima.yaml`

        \(table(LimaYAML.keys))

        ## `hostagent.yaml`

        Settings that `lima.yaml` has no key for, in a file beside it.

        \(table(Settings.keys))

        """
    }

    private static func table(_ keys: [any KeyDeclaration]) -> String {
        let header = ["| key | type | default | part | changes count | support |", "|---|---|---|---|---|---|"]
        return (header + keys.flatMap { rows($0, within: "", part: nil, effect: nil) }).joined(separator: "\n")
    }

    /// The row of a key and those of the keys inside its value.
    private static func rows(
        _ key: any KeyDeclaration, within path: String, part outerPart: Part?, effect outerEffect: Effect?
    ) -> [String] {
        let path = path + key.name
        let part = key.facts.part ?? outerPart
        let effect = key.facts.effect ?? outerEffect
        let cells = [
            "`\(path)`", key.type, key.standard ?? "", part?.rawValue ?? "", effect?.words ?? "",
            key.facts.support.words,
        ]
        let row = "| " + cells.joined(separator: " | ") + " |"
        let (inner, joiner): ([any KeyDeclaration], String) =
            switch key.shape {
            case .record(let keys): (keys, ".")
            case .list(let keys): (keys, "[].")
            case .scalar, .map: ([], "")
            }
        return [row] + inner.flatMap { rows($0, within: path + joiner, part: part, effect: effect) }
    }
}

extension Effect {
    fileprivate var words: String {
        switch self {
        case .live: "at once"
        case .liveUnlessRegistered: "at once; what the manager's file holds, after `autostart enable`"
        case .liveWherePossible: "at once where the guest allows it, otherwise at the next start"
        case .enable: "after `autostart enable`"
        case .agentStart: "at the agent's next start"
        case .start: "at the next start"
        case .creation: "when the instance is created"
        }
    }
}

extension Support {
    fileprivate var words: String {
        switch self {
        case .done: "yes"
        case .partial(let limits): "partly: \(limits)"
        case .noEffect(let reason): "no effect: \(reason)"
        case .notYet: "not yet"
        }
    }
}
