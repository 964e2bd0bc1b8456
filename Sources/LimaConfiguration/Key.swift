import HostModel

/// What one key of a file is: one row of the table of keys. Reading, merging, digests and docs/lima-compatibility.md
/// follow it.
package protocol KeyDeclaration: Sendable {
    var name: String { get }
    /// The type of the value in words.
    var type: String { get }
    var shape: Shape { get }
    var scalarKind: ScalarKind { get }
    /// The value that counts if the key is missing, in Markdown; nil if there is none.
    var standard: String? { get }
    /// The same as a person would write it in the file; nil if it cannot be written or depends on other values.
    var defaultText: String? { get }
    var facts: KeyFacts { get }

    /// Reads the value in order to find its faults.
    func check(_ value: ConfigurationValue)
}

/// The part of the system in which a value counts.
package enum Part: String, Sendable {
    case machine
    case guest
    case access = "SSH"
    case host
    case agent
}

/// The moment from which a changed value counts.
package enum Effect: Sendable {
    /// `reload` is enough, also while the guest runs.
    case live
    /// As `live`; if a manager starts the instance, its file has to be written again.
    case liveUnlessRegistered
    /// As `live`, as far as the machine of the running guest allows; the rest from the next start of the guest.
    case liveWherePossible
    /// The manager's file has to be written again: `autostart enable`.
    case enable
    /// The next agent, after a restart or an upgrade.
    case agentStart
    /// The next start of the guest.
    case start
    case creation

    package var isLive: Bool {
        switch self {
        case .live, .liveUnlessRegistered, .liveWherePossible: true
        case .enable, .agentStart, .start, .creation: false
        }
    }
}

/// How far this program supports a key.
package enum Support: Sendable {
    case done
    /// Supported within limits, which the text states.
    case partial(String)
    /// The value is checked, and has no effect on this kind of guest or host. The text says why.
    case noEffect(String)
    /// A key of Lima that is not supported yet. Its value is not looked at.
    case notYet

    var isSupported: Bool {
        switch self {
        case .done, .partial: true
        case .noEffect, .notYet: false
        }
    }
}

/// What holds for a key besides the form of its value.
package struct KeyFacts: Sendable {
    /// The part and the moment are nil if the same holds as for the mapping around the key.
    package var part: Part?
    package var effect: Effect?
    package var support: Support
    package var merging: Merging
}

/// How the values that several files have for a key become one, where its type does not say it.
package enum Merging: Sendable, Equatable {
    /// A scalar is taken from the first file that has it, lists are joined, mappings are merged key by key.
    case byType
    /// The first file that has it counts, also for a list.
    case first
    /// Lists are joined, those of a base before that of the template that names it.
    case basesFirst
    /// Lists are joined, without what is there already.
    case unique
    /// Lists are joined. Entries about one thing, which the first of these keys names, become one; those about `*` are for
    /// all before them.
    case combined([String])
    /// The highest version counts.
    case newest
}

/// A key whose value may be missing.
package struct Key<Value>: KeyDeclaration {
    package let name: String
    package let facts: KeyFacts
    package let standard: String?
    let form: Form<Value>

    /// - Parameter standard: what a missing key means, if the code that reads it decides.
    init(
        _ name: String, _ form: Form<Value>, _ part: Part? = nil, _ effect: Effect? = nil, _ support: Support = .done,
        standard: String? = nil, merging: Merging = .byType
    ) {
        self.name = name
        self.form = form
        self.standard = standard
        facts = KeyFacts(part: part, effect: effect, support: support, merging: merging)
    }

    package var defaultText: String? { nil }
    package var type: String { form.name }
    package var shape: Shape { form.shape }
    package var scalarKind: ScalarKind { form.scalarKind }
    package func check(_ value: ConfigurationValue) { _ = form.read(value) }
}

/// A key that has a value even if it is missing.
package struct DefaultedKey<Value: Sendable>: KeyDeclaration {
    let key: Key<Value>
    let fallback: Value

    init(
        _ name: String, _ form: Form<Value>, default fallback: Value, _ part: Part? = nil, _ effect: Effect? = nil,
        _ support: Support = .done
    ) {
        key = Key(name, form, part, effect, support, standard: "`\(form.format(fallback))`")
        self.fallback = fallback
    }

    package var name: String { key.name }
    package var type: String { key.type }
    package var shape: Shape { key.shape }
    package var scalarKind: ScalarKind { key.scalarKind }
    package var standard: String? { key.standard }
    package var defaultText: String? { key.form.format(fallback) }
    package var facts: KeyFacts { key.facts }
    package func check(_ value: ConfigurationValue) { key.check(value) }
}

/// The values of a mapping whose keys are fixed. Each is read when it is asked for, and only once.
package final class Fields {
    private let keys: [any KeyDeclaration]
    private let values: [String: ConfigurationValue]
    private var alreadyRead: Set<String> = []

    fileprivate init(_ keys: [any KeyDeclaration], _ values: [String: ConfigurationValue]) {
        self.keys = keys
        self.values = values
    }

    /// The value of a key; nil if it is missing or wrong.
    subscript<Value>(key: Key<Value>) -> Value? {
        assert(keys.contains { $0.name == key.name }, "\(key.name) is not in the table of this mapping")
        assert(!alreadyRead.contains(key.name), "\(key.name) is read twice, and would report its faults twice")
        alreadyRead.insert(key.name)
        return values[key.name].flatMap(key.form.read)
    }

    subscript<Value>(key: DefaultedKey<Value>) -> Value { self[key.key] ?? key.fallback }

    /// A key's value as it was written, for faults that concern more than one key; nil if the key is missing.
    func given(_ key: some KeyDeclaration) -> ConfigurationValue? { values[key.name] }

    /// Reads the values that nobody asked for, so that their faults are found too.
    fileprivate func checkTheRest() {
        for key in keys where !alreadyRead.contains(key.name) { values[key.name].map(key.check) }
    }
}

extension ConfigurationValue {
    /// Reads a mapping with fixed keys. An unknown key is a fault, one without effect is a warning.
    func record<Value>(_ keys: [any KeyDeclaration], _ build: (Fields) -> Value?) -> Value? {
        guard case .mapping(let entries) = node.content else {
            expected("a mapping")
            return nil
        }
        var values: [String: ConfigurationValue] = [:]
        for entry in entries {
            let value = ConfigurationValue(
                path: path.isEmpty ? entry.key : "\(path).\(entry.key)", node: entry.value, reading: reading)
            guard let key = keys.first(where: { $0.name == entry.key }) else {
                let hint = Spelling.nearest(to: entry.key, among: keys.map(\.name)).map { "; did you mean \($0)?" }
                reading.findings.fault(entry.keyPlace, "\(value.path): unknown key\(hint ?? "")")
                continue
            }
            if entry.value.isNull { continue }
            switch key.facts.support {
            case .done, .partial: values[entry.key] = value
            case .noEffect(let reason):
                if entry.value.asksForNothing { continue }
                reading.findings.warn(entry.keyPlace, "\(value.path): has no effect here: \(reason)")
                key.check(value)
            case .notYet:
                reading.findings.warn(
                    entry.keyPlace, "\(value.path): hostagent does not support this yet, it is ignored")
            }
        }
        let fields = Fields(keys, values)
        let result = build(fields)
        fields.checkTheRest()
        return result
    }
}

private enum Spelling {
    /// The word that differs from this one by at most two letters, or by one if it is short.
    static func nearest(to word: String, among words: [String]) -> String? {
        let near = words.map { (word: $0, distance: distance($0, word)) }.min { $0.distance < $1.distance }
        let limit = word.count < 6 ? 1 : 2
        return near.flatMap { $0.distance <= limit ? $0.word : nil }
    }

    /// How many letters have to be added, removed or changed to turn one word into the other.
    private static func distance(_ left: String, _ right: String) -> Int {
        let (left, right) = (Array(left.lowercased().prefix(40)), Array(right.lowercased().prefix(40)))
        var row = Array(0...right.count)
        for (i, a) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, b) in right.enumerated() {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a == b ? 0 : 1))
                diagonal = above
            }
        }
        return row[right.count]
    }
}
