import HostModel

/// What a scalar stands for in JSON.
package enum ScalarKind: Sendable {
    case text, flag, integer
    /// Nobody reads the value here, so that it stays as it is written.
    case asWritten
}

/// How one type of value is written in YAML: its name, how it is merged, how it is read and shown.
package struct Form<Value>: Sendable {
    let name: String
    let shape: Shape
    let scalarKind: ScalarKind
    /// Nil if the value is wrong. The fault has been recorded then.
    let read: @Sendable (ConfigurationValue) -> Value?
    /// The value as a person would write it.
    let format: @Sendable (Value) -> String

    init(
        _ name: String, shape: Shape = .scalar, scalarKind: ScalarKind = .text,
        format: @escaping @Sendable (Value) -> String = { "\($0)" },
        read: @escaping @Sendable (ConfigurationValue) -> Value?
    ) {
        self.name = name
        self.shape = shape
        self.scalarKind = scalarKind
        self.read = read
        self.format = format
    }

    /// The same form for a type that is made from the value that was read.
    /// - Parameter make: nil if the value is wrong. It records the fault itself.
    func map<Other>(
        _ name: String? = nil, format: @escaping @Sendable (Other) -> String = { "\($0)" },
        _ make: @escaping @Sendable (Value, ConfigurationValue) -> Other?
    ) -> Form<Other> {
        Form<Other>(name ?? self.name, shape: shape, scalarKind: scalarKind, format: format) { value in
            read(value).flatMap { make($0, value) }
        }
    }

    /// A mapping with these keys.
    static func record(
        _ keys: [any KeyDeclaration], named name: String = "mapping",
        _ build: @escaping @Sendable (Fields, ConfigurationValue) -> Value?
    ) -> Self {
        Form(name, shape: .record(keys)) { value in
            value.record(keys) { build($0, value) }
        }
    }
}

extension Form where Value == String {
    /// Any text.
    static var text: Self { Form("text", format: quotedIfEmpty, read: { $0.text() }) }

    private static func quotedIfEmpty(_ text: String) -> String { text.isEmpty ? "\"\"" : text }

    /// Text without line ends or other control characters.
    static var line: Self {
        text.map(format: quotedIfEmpty) { text, value in
            guard text.unicodeScalars.allSatisfy({ $0.value >= 32 && $0.value != 127 }) else {
                value.fault("expected one line, found a line end or control character")
                return nil
            }
            return text
        }
    }

    /// Text in which variables of the guest, such as `{{.User}}`, stand for their values.
    static var guestTemplate: Self {
        text.map("template", format: quotedIfEmpty) { text, value in
            TemplateText.expanded(text, value.reading.variables) { value.warn($0) }
        }
    }
}

extension Form where Value == IPAddress {
    static var ipAddress: Self {
        Form<String>.text.map("IP address") { text, value in
            let address = IPAddress(text)
            if address == nil { value.expected("an IP address") }
            return address
        }
    }
}

extension Form where Value == Bool {
    static var boolean: Self {
        Form("true or false", scalarKind: .flag) { value in
            switch value.plainText?.lowercased() {
            case "true": return true
            case "false": return false
            default:
                value.expected("true or false")
                return nil
            }
        }
    }
}

extension Form where Value == Int {
    static func integer(in range: ClosedRange<Int>) -> Self {
        Form("number, \(range.lowerBound) to \(range.upperBound)", scalarKind: .integer) { value in
            guard let number = value.plainText.flatMap({ Int($0) }) else {
                value.expected("a whole number")
                return nil
            }
            guard range.contains(number) else {
                value.fault("\(number) is outside \(range.lowerBound) to \(range.upperBound)")
                return nil
            }
            return number
        }
    }

    static var port: Self { integer(in: 1...65535) }

    /// A size in bytes, such as `4GiB` or `512MiB`. Units are powers of 1024, as in RAMInBytes of go-units, which Lima
    /// uses.
    static func size(in range: ClosedRange<Int>) -> Self {
        quantity("size", such: "4GiB", range, parse: ByteCount.parse, format: ByteCount.format)
    }

    /// A duration in seconds, such as `90s`, `2m` or `1m30s`.
    static func duration(in range: ClosedRange<Int>) -> Self {
        quantity("duration", such: "90s or 2m", range, parse: Seconds.parse) { "\($0)s" }
    }

    private static func quantity(
        _ name: String, such example: String, _ range: ClosedRange<Int>,
        parse: @escaping @Sendable (String) -> Int?, format: @escaping @Sendable (Int) -> String
    ) -> Self {
        let limits = "\(format(range.lowerBound)) to \(format(range.upperBound))"
        return Form("\(name), \(limits)", format: format) { value in
            guard case .scalar(let text, _) = value.node.content, let number = parse(text) else {
                value.expected("a \(name) such as \(example)")
                return nil
            }
            guard range.contains(number) else {
                value.fault("\(text) is outside \(limits)")
                return nil
            }
            return number
        }
    }
}

extension Form where Value: RawRepresentable & CaseIterable & Sendable, Value.RawValue == String {
    /// One of the words of an enumeration.
    static var word: Self {
        let words = Value.allCases.map(\.rawValue).joined(separator: " or ")
        return Form(words, format: { $0.rawValue }) { value in
            if case .scalar(let text, _) = value.node.content, let choice = Value(rawValue: text) { return choice }
            value.expected(words)
            return nil
        }
    }
}

/// A list. Elements that are wrong are left out.
func list<Element>(of element: Form<Element>) -> Form<[Element]> {
    let keys: [any KeyDeclaration] = if case .record(let keys) = element.shape { keys } else { [] }
    return Form<[Element]>(
        "list of \(element.name)", shape: .list(keys), format: { $0.isEmpty ? "[]" : "\($0)" }
    ) { value in
        value.elements().compactMap(element.read)
    }
}

/// A mapping whose keys a person chooses, in the order of the file. Entries that are wrong are left out.
func entries<Value>(of element: Form<Value>) -> Form<[(key: String, value: Value)]> {
    Form<[(key: String, value: Value)]>(
        "mapping to \(element.name)", shape: .map, format: { $0.isEmpty ? "{}" : "\($0)" },
        read: { value in
            value.entries().compactMap { key, value in element.read(value).map { (key, $0) } }
        })
}

extension Form where Value == Void {
    /// A value that is not looked at. Its shape decides how those of several files are merged.
    static func unread(_ name: String, _ shape: Shape = .scalar) -> Self {
        Form(name, shape: shape, scalarKind: .asWritten, format: { _ in "" }) { _ in }
    }
}
