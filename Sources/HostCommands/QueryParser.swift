import HostModel

/// Reads a `Query`. The grammar, from the loosest to the tightest binding: `|`, `or`, `and`, comparisons, `//`, `+ -`,
/// `* /`, then paths, literals, calls and parentheses.
struct QueryParser {
    private let text: String
    private var rest: Substring
    /// How many parentheses and brackets are open.
    private var depth = 0
    private static let maximumDepth = 100

    /// - Throws: `HostError` with `.usage`.
    static func query(_ text: String) throws(HostError) -> Query {
        var parser = QueryParser(text)
        let query = try parser.pipe()
        parser.skipSpace()
        guard parser.rest.isEmpty else { throw parser.fault("\(InstanceName.quoted(String(parser.rest))) is too much") }
        return query
    }

    private init(_ text: String) {
        self.text = text
        rest = text[...]
    }

    private func fault(_ reason: String) -> HostError {
        HostError(
            .usage, "the query \(InstanceName.quoted(text)) is not understood: \(reason)",
            hint: "hostagent knows a part of yq's language: paths, comparisons, and, or, //, arithmetic and "
                + Query.Function.allCases.map(\.rawValue).joined(separator: ", "))
    }

    private mutating func skipSpace() { rest = rest.drop(while: \.isWhitespace) }

    /// Takes a symbol if it comes next.
    private mutating func take(_ symbol: String) -> Bool {
        skipSpace()
        guard rest.hasPrefix(symbol) else { return false }
        rest.removeFirst(symbol.count)
        return true
    }

    private static func isWord(_ character: Character) -> Bool {
        character.isASCII && (character.isLetter || character.isNumber || character == "_")
    }

    /// Takes a word if it comes next and is not the beginning of a longer one.
    private mutating func takeWord(_ word: String) -> Bool {
        skipSpace()
        guard rest.hasPrefix(word), !(rest.dropFirst(word.count).first.map(Self.isWord) ?? false) else { return false }
        rest.removeFirst(word.count)
        return true
    }

    // MARK: Operators

    private mutating func pipe() throws(HostError) -> Query {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { throw fault("it is nested more than \(Self.maximumDepth) deep") }
        var query = try either()
        while take("|") { query = .pipe(query, try either()) }
        return query
    }

    private mutating func either() throws(HostError) -> Query {
        var query = try both()
        while takeWord("or") { query = .operation(.or, query, try both()) }
        return query
    }

    private mutating func both() throws(HostError) -> Query {
        var query = try comparison()
        while takeWord("and") { query = .operation(.and, query, try comparison()) }
        return query
    }

    private mutating func comparison() throws(HostError) -> Query {
        let query = try alternative()
        for name in [Query.Operator.equal, .unequal, .atMost, .atLeast, .less, .greater] where take(name.rawValue) {
            return .operation(name, query, try alternative())
        }
        return query
    }

    private mutating func alternative() throws(HostError) -> Query {
        var query = try sum()
        while take(Query.Operator.alternative.rawValue) { query = .operation(.alternative, query, try sum()) }
        return query
    }

    private mutating func sum() throws(HostError) -> Query {
        var query = try product()
        while true {
            if take("+") {
                query = .operation(.plus, query, try product())
            } else if take("-") {
                query = .operation(.minus, query, try product())
            } else {
                return query
            }
        }
    }

    private mutating func product() throws(HostError) -> Query {
        var query = try path()
        while true {
            skipSpace()
            if take("*") {
                query = .operation(.times, query, try path())
            } else if !rest.hasPrefix("//"), take("/") {
                query = .operation(.dividedBy, query, try path())
            } else {
                return query
            }
        }
    }

    // MARK: Paths

    private mutating func path() throws(HostError) -> Query {
        var query = try primary()
        while true {
            if rest.first == "." {
                rest.removeFirst()
                if rest.first == "[" { continue }
                query = .key(query, try key())
            } else if rest.first == "[" {
                query = try element(of: query)
            } else {
                return query
            }
        }
    }

    private mutating func key() throws(HostError) -> String {
        if rest.first == "\"" { return try quoted() }
        let word = rest.prefix(while: Self.isWord)
        guard !word.isEmpty else { throw fault("a key is missing after a dot") }
        rest.removeFirst(word.count)
        return String(word)
    }

    /// `[]`, `[0]` or `["key"]`.
    private mutating func element(of query: Query) throws(HostError) -> Query {
        rest.removeFirst()
        if take("]") { return .each(query) }
        skipSpace()
        let result: Query
        if rest.first == "\"" {
            result = .key(query, try quoted())
        } else {
            let digits = rest.prefix { $0 == "-" || $0.isNumber }
            guard let index = Int(digits) else { throw fault("expected a number or a key in brackets") }
            rest.removeFirst(digits.count)
            result = .index(query, index)
        }
        guard take("]") else { throw fault("a bracket is not closed") }
        return result
    }

    private mutating func primary() throws(HostError) -> Query {
        skipSpace()
        guard let first = rest.first else { throw fault("something is missing at its end") }
        switch first {
        case ".":
            rest.removeFirst()
            guard let next = rest.first, next == "\"" || Self.isWord(next) else { return .identity }
            return .key(.identity, try key())
        case "(":
            rest.removeFirst()
            let query = try pipe()
            guard take(")") else { throw fault("a parenthesis is not closed") }
            return query
        case "[":
            rest.removeFirst()
            if take("]") { return .listOf(nil) }
            var lists: Query = .listOf(try pipe())
            while take(",") { lists = .operation(.plus, lists, .listOf(try pipe())) }
            guard take("]") else { throw fault("a bracket is not closed") }
            return lists
        case "\"": return .literal(.text(try quoted()))
        case _ where first.isNumber || first == "-":
            let digits = rest.prefix { $0.isNumber || $0 == "." || $0 == "-" }
            guard let number = Double(digits) else {
                throw fault("\(InstanceName.quoted(String(digits))) is no number")
            }
            rest.removeFirst(digits.count)
            return .literal(.number(number))
        default: return try word()
        }
    }

    /// A constant or a call.
    private mutating func word() throws(HostError) -> Query {
        let word = String(rest.prefix(while: Self.isWord))
        guard !word.isEmpty else { throw fault("\(InstanceName.quoted(String(rest.prefix(1)))) has no meaning there") }
        rest.removeFirst(word.count)
        switch word {
        case "true": return .literal(.flag(true))
        case "false": return .literal(.flag(false))
        case "null": return .literal(.null)
        case "env", "strenv", "envsubst":
            throw fault("\(word) would read the environment, which queries cannot")
        case "load", "load_str", "load_props", "load_xml", "load_base64":
            throw fault("\(word) would read a file, which queries cannot")
        default: break
        }
        guard let function = Query.Function(rawValue: word) else {
            throw fault("\(InstanceName.quoted(word)) is not known")
        }
        guard function.takesArgument else { return .call(function, nil) }
        guard take("(") else { throw fault("\(word) needs an argument in parentheses") }
        let argument = try pipe()
        guard take(")") else { throw fault("a parenthesis is not closed") }
        return .call(function, argument)
    }

    private mutating func quoted() throws(HostError) -> String {
        rest.removeFirst()
        var result = ""
        while let character = rest.popFirst() {
            switch character {
            case "\"": return result
            case "\\":
                switch rest.popFirst() {
                case "n": result += "\n"
                case "t": result += "\t"
                // Regular expressions have backslashes of their own.
                case let other? where other != "\"" && other != "\\": result += "\\" + String(other)
                case let other?: result.append(other)
                case nil: break
                }
            default: result.append(character)
            }
        }
        throw fault("a quotation mark is missing")
    }
}

extension Query {
    /// - Throws: `HostError` with `.usage`.
    package init(_ text: String) throws(HostError) { self = try QueryParser.query(text) }
}
