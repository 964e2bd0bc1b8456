/// What an action stands for: a variable, a quoted text, or a function and its operands.
struct TemplateExpression {
    private enum Value: Equatable {
        case text(String)
        case number(Int)
        case flag(Bool)

        /// As in Go, an empty text and zero are false. Every other text and number is true.
        var isTrue: Bool {
            switch self {
            case .text(let text): !text.isEmpty
            case .number(let number): number != 0
            case .flag(let flag): flag
            }
        }

        var text: String {
            switch self {
            case .text(let text): text
            case .number(let number): String(number)
            case .flag(let flag): String(flag)
            }
        }

        /// Variables that are numbers in Lima are texts here.
        static func == (left: Self, right: Self) -> Bool {
            switch (left, right) {
            case (.flag(let left), .flag(let right)): left == right
            case (.flag, _), (_, .flag): false
            default: left.text == right.text
            }
        }
    }

    private enum Word: Equatable {
        case name(String)
        case quoted(String)
        case open, close
    }

    /// Parentheses within parentheses. Each pair takes stack.
    private static let maximumDepth = 32
    private static let functions = ["eq", "ne", "not", "and", "or"]

    private let action: String
    private let variables: TemplateVariables
    private let isCondition: Bool
    private var words: ArraySlice<Word> = []
    private var value = Value.flag(false)

    /// - Parameter isCondition: whether a parameter that does not exist is empty, as in Go. Elsewhere it is a mistake.
    init(_ action: String, _ variables: TemplateVariables, isCondition: Bool = false) throws(TemplateFailure) {
        self.isCondition = isCondition
        self.action = action
        self.variables = variables
        words = try Self.words(action)[...]
        value = try pipeline(depth: 0)
        guard words.isEmpty else { throw .unknown(action) }
    }

    var isTrue: Bool { value.isTrue }

    var text: String { value.text }

    private mutating func pipeline(depth: Int) throws(TemplateFailure) -> Value {
        guard depth <= Self.maximumDepth else { throw .unknown(action) }
        guard case .name(let function) = words.first, Self.functions.contains(function) else {
            return try operand(depth)
        }
        words.removeFirst()
        var values: [Value] = []
        while let word = words.first, word != .close { values.append(try operand(depth)) }
        guard let first = values.first, let last = values.last else { throw .unknown(action) }
        switch function {
        case "eq" where values.count > 1: return .flag(values.dropFirst().contains(first))
        case "ne" where values.count == 2: return .flag(first != last)
        case "not" where values.count == 1: return .flag(!first.isTrue)
        case "and": return values.first { !$0.isTrue } ?? last
        case "or": return values.first { $0.isTrue } ?? last
        default: throw .unknown(action)
        }
    }

    private mutating func operand(_ depth: Int) throws(TemplateFailure) -> Value {
        switch words.popFirst() {
        case .quoted(let text): return .text(text)
        case .open:
            let value = try pipeline(depth: depth + 1)
            guard words.popFirst() == .close else { throw .unknown(action) }
            return value
        case .name("true"): return .flag(true)
        case .name("false"): return .flag(false)
        case .name(let name):
            if name.first == ".", let value = variables.values[String(name.dropFirst())] { return .text(value) }
            if isCondition, name.hasPrefix(".Param.") { return .text("") }
            guard let number = Int(name) else { throw .unknown(action) }
            return .number(number)
        case .close, nil: throw .unknown(action)
        }
    }

    private static func words(_ action: String) throws(TemplateFailure) -> [Word] {
        var words: [Word] = []
        var rest = action[...]
        while let character = rest.first {
            switch character {
            case _ where character.isWhitespace: rest.removeFirst()
            case "(", ")":
                words.append(character == "(" ? .open : .close)
                rest.removeFirst()
            case "\"", "`":
                let inside = rest.dropFirst()
                // A text with escapes is not known here.
                guard let end = inside.firstIndex(of: character), character == "`" || !inside[..<end].contains("\\")
                else { throw .unknown(action) }
                words.append(.quoted(String(inside[..<end])))
                rest = inside[end...].dropFirst()
            default:
                let name = rest.prefix { !$0.isWhitespace && !"()\"`".contains($0) }
                words.append(.name(String(name)))
                rest = rest.dropFirst(name.count)
            }
        }
        return words
    }
}
