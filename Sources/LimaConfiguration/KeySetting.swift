import HostModel

extension LimaYAML {
    /// A text of a `lima.yaml` in which keys of the top level were set.
    package struct KeySetting: Sendable {
        package let text: ConfigurationText
        /// The keys whose values have changed.
        package let changedKeys: [String]
    }

    /// Sets keys of the top level. What they had before is replaced, also where it was a list or a mapping. Comments are
    /// kept, except within the values that change.
    /// - Parameter values: null removes a key.
    /// - Throws: `HostError` with `.badConfiguration` if the text is not a mapping.
    package static func setting(
        _ values: [ConfigurationNode.Entry], in text: ConfigurationText
    ) throws(HostError) -> KeySetting {
        let old = text.isBlank ? nil : try ConfigurationNode(parsing: text)
        var entries = old?.entries ?? []
        var changedKeys: [String] = []
        for value in values {
            let index = entries.firstIndex { $0.key == value.key }
            let before = index.map { entries[$0].value }
            guard !(before ?? .null(at: value.keyPlace)).means(the: value.value) else { continue }
            changedKeys.append(value.key)
            switch (index, value.value.isNull) {
            case (let index?, true): entries.remove(at: index)
            case (let index?, false): entries[index].value = value.value
            case (nil, _): entries.append(value)
            }
        }
        guard !changedKeys.isEmpty else { return KeySetting(text: text, changedKeys: []) }
        let place = old?.place ?? Place(file: text.file, line: 1, column: 1)
        let whole = ConfigurationNode(place: place, content: .mapping(entries))
        let new = if let kept = keepingComments(of: text, in: whole) { kept } else { try whole.yaml }
        return KeySetting(text: ConfigurationText(new, file: text.file), changedKeys: changedKeys)
    }

    /// The value of `param` in which some parameters are set and the others stay.
    /// - Throws: `HostError` with `.badConfiguration` if the text is not a mapping.
    package static func parameters(
        _ parameters: [(key: String, value: String)], in text: ConfigurationText
    ) throws(HostError) -> ConfigurationNode.Entry {
        let old = text.isBlank ? nil : try ConfigurationNode(parsing: text)
        let place = old?.place ?? Place(file: text.file, line: 1, column: 1)
        var entries = old?.entries.first { $0.key == "param" }?.value.entries ?? []
        for parameter in parameters {
            let value = ConfigurationNode(place: place, content: .scalar(parameter.value, isPlain: false))
            if let index = entries.firstIndex(where: { $0.key == parameter.key }) {
                // A number stays a number.
                if case .scalar(parameter.value, _) = entries[index].value.content { continue }
                entries[index].value = value
            } else {
                entries.append(.init(key: parameter.key, keyPlace: place, value: value))
            }
        }
        return .init(
            key: "param", keyPlace: place, value: ConfigurationNode(place: place, content: .mapping(entries)))
    }
}

extension ConfigurationNode {
    fileprivate static func null(at place: Place) -> ConfigurationNode {
        ConfigurationNode(place: place, content: .scalar("", isPlain: true))
    }

    /// Whether two values say the same. The order of a mapping's keys and quotation marks that change nothing do not count.
    func means(the other: ConfigurationNode) -> Bool {
        switch (content, other.content) {
        case (.scalar(let text, let isPlain), .scalar(let otherText, let otherIsPlain)):
            text == otherText && (isPlain == otherIsPlain || !YAMLText.isMoreThanText(text))
                || isNull && other.isNull
        case (.list(let elements), .list(let others)):
            elements.count == others.count && zip(elements, others).allSatisfy { $0.means(the: $1) }
        case (.mapping(let entries), .mapping(let others)):
            entries.count == others.count
                && entries.allSatisfy { entry in
                    others.contains { $0.key == entry.key && entry.value.means(the: $0.value) }
                }
        default: false
        }
    }
}

extension YAMLText {
    /// Whether the text, if it stands without quotation marks, is null, a truth value or a number (YAML 1.2, core schema;
    /// the words of YAML 1.1 that are truth values there count, too).
    static func isMoreThanText(_ text: String) -> Bool {
        let words = ["", "~", "null", "true", "false", "yes", "no", "on", "off", ".inf", "-.inf", ".nan"]
        return words.contains(text.lowercased()) || Double(text) != nil || text.hasPrefix("0o") || text.hasPrefix("0x")
    }
}
