import HostModel

/// What the variables of a template stand for, by their names without the leading dot: `User`, `Param.version`.
struct TemplateVariables {
    var values: [String: String] = [:]
}

extension Configuration {
    /// The message for the person, with the variables that Lima has there.
    /// - Parameter directory: the instance's.
    package func message(of name: InstanceName, in directory: String) -> String {
        var variables = TemplateVariables(values: [
            "Name": name.text, "Hostname": name.guestHostname, "Dir": directory, "Home": user.home, "User": user.name,
            "UID": String(user.uid), "Arch": architecture.rawValue, "CPUs": String(cpus), "Memory": String(memory),
            "Disk": String(disk), "VMType": "qemu", "SSHAddress": "127.0.0.1",
            "SSHConfigFile": directory + "/ssh.config",
            "HostOS": HostSystem.name, "HostArch": Architecture.host.rawValue,
        ])
        for parameter in parameters { variables.values["Param.\(parameter.name)"] = parameter.value }
        return TemplateText.expanded(message, variables) { _ in }
    }
}

/// Text with variables and conditions in double braces, as Lima writes them: `{{.User}}`, `{{if eq .Arch "x86_64"}}`.
///
/// The language is the part of Go's text/template that texts of Lima use: variables, quoted texts, `if`, `else`, `end`,
/// comments, the marks `{{-` and `-}}`, and the functions `eq`, `ne`, `not`, `and` and `or`.
enum TemplateText {
    /// The text with the values of its variables. A text with anything else in double braces is returned as it is, and a
    /// warning says so: a script may well hold braces that are not meant for us, such as those of `docker ps --format`.
    static func expanded(_ text: String, _ variables: TemplateVariables, warn: (String) -> Void) -> String {
        guard text.contains("{{") else { return text }
        do throws(TemplateFailure) {
            var expansion = try TemplateExpansion(text, variables)
            return try expansion.whole()
        } catch {
            warn(error.reason + "; the text is used as it is")
            return text
        }
    }
}

/// A text is not a template that this program understands.
struct TemplateFailure: Error {
    var reason: String

    static let unclosed = Self(reason: "the braces {{ are never closed")

    static func unknown(_ action: some StringProtocol) -> Self {
        Self(reason: "{{\(action.prefix(40))}} is not \(action.hasPrefix(".") ? "a variable" : "understood")")
    }
}

/// Goes through the pieces of one text from its beginning to its end.
private struct TemplateExpansion {
    private enum Piece {
        case text(String)
        /// What is between two braces and two braces.
        case action(String)
    }

    private enum Ending: Equatable {
        case end
        case otherwise(condition: String?)
        case textIsOver
    }

    /// Conditions within conditions. Each one takes stack.
    private static let maximumDepth = 32
    /// The size in bytes of what is between braces. Longer ones are of other programs.
    private static let maximumActionSize = 4096

    private var pieces: ArraySlice<Piece>
    private let variables: TemplateVariables

    init(_ text: String, _ variables: TemplateVariables) throws(TemplateFailure) {
        self.variables = variables
        var pieces: [Piece] = []
        var rest = text[...]
        var trimsStart = false
        func plain(_ text: Substring, trimsEnd: Bool) -> String {
            var text = text
            if trimsStart { text = text.drop(while: Self.isSpace) }
            if trimsEnd { while text.last.map(Self.isSpace) == true { text.removeLast() } }
            return String(text)
        }
        while let start = rest.firstRange(of: "{{") {
            let end = try Self.end(ofAction: rest[start.upperBound...])
            var inside = rest[start.upperBound..<end]
            guard inside.utf8.count <= Self.maximumActionSize else { throw TemplateFailure.unknown(inside) }
            // A mark is a dash with a space beside it, so that {{-1}} is a number (Go, text/template).
            let trimsEnd = inside.first == "-" && inside.dropFirst().first.map(Self.isSpace) == true
            if trimsEnd { inside.removeFirst() }
            pieces.append(.text(plain(rest[..<start.lowerBound], trimsEnd: trimsEnd)))
            trimsStart = inside.last == "-" && inside.dropLast().last.map(Self.isSpace) == true
            if trimsStart { inside.removeLast() }
            pieces.append(.action(String(inside).trimmed))
            rest = rest[end...].dropFirst(2)
        }
        pieces.append(.text(plain(rest, trimsEnd: false)))
        self.pieces = pieces[...]
    }

    /// White space, as Go's templates trim it.
    private static func isSpace(_ character: Character) -> Bool {
        [" ", "\t", "\r", "\n", "\r\n"].contains(character)
    }

    /// Where the closing braces of an action are. Braces in a quoted text or in a comment close nothing.
    private static func end(ofAction text: Substring) throws(TemplateFailure) -> Substring.Index {
        var rest = text
        if let comment = rest.firstRange(of: "/*"), rest[..<comment.lowerBound].allSatisfy({ $0 == "-" || isSpace($0) })
        {
            guard let close = rest[comment.upperBound...].firstRange(of: "*/") else { throw TemplateFailure.unclosed }
            rest = rest[close.upperBound...]
        }
        while let next = rest.firstIndex(where: { "\"`}".contains($0) }) {
            if rest[next] == "}" {
                if rest[next...].hasPrefix("}}") { return next }
                rest = rest[next...].dropFirst()
            } else {
                guard let close = rest[next...].dropFirst().firstIndex(of: rest[next]) else {
                    throw TemplateFailure.unclosed
                }
                rest = rest[close...].dropFirst()
            }
        }
        throw TemplateFailure.unclosed
    }

    mutating func whole() throws(TemplateFailure) -> String {
        let (text, ending) = try block(isShown: true, depth: 0)
        guard ending == .textIsOver else { throw TemplateFailure(reason: "{{end}} or {{else}} without {{if}}") }
        return text
    }

    /// Reads on to the end of a block.
    private mutating func block(isShown: Bool, depth: Int) throws(TemplateFailure) -> (String, Ending) {
        guard depth <= Self.maximumDepth else {
            throw TemplateFailure(reason: "there are more than \(Self.maximumDepth) conditions within each other")
        }
        var result = ""
        while let piece = pieces.popFirst() {
            switch piece {
            case .text(let text): if isShown { result += text }
            case .action(let action):
                let (word, rest) = Self.split(action)
                switch word {
                case "end" where rest.isEmpty: return (result, .end)
                case "else" where rest.isEmpty: return (result, .otherwise(condition: nil))
                case "else" where Self.split(rest).word == "if":
                    return (result, .otherwise(condition: Self.split(rest).rest))
                case "if": result += try branches(rest, isShown: isShown, depth: depth + 1)
                case _ where action.hasPrefix("/*") && action.hasSuffix("*/"): break
                default:
                    let expression = try TemplateExpression(action, variables)
                    if isShown { result += expression.text }
                }
            }
        }
        return (result, .textIsOver)
    }

    /// The text of the first branch whose condition holds.
    private mutating func branches(_ first: String, isShown: Bool, depth: Int) throws(TemplateFailure) -> String {
        var result = ""
        var condition: String? = first
        var isDecided = !isShown
        while true {
            // A condition that does not count is looked at too, so that a mistake does not hide in it.
            var holds = true
            if let condition { holds = try TemplateExpression(condition, variables, isCondition: true).isTrue }
            let (text, ending) = try block(isShown: holds && !isDecided, depth: depth)
            result += text
            isDecided = isDecided || holds
            switch ending {
            case .end: return result
            case .otherwise(let next) where condition != nil: condition = next
            case .otherwise: throw TemplateFailure(reason: "{{else}} after {{else}}")
            case .textIsOver: throw TemplateFailure(reason: "{{if}} without {{end}}")
            }
        }
    }

    private static func split(_ action: String) -> (word: String, rest: String) {
        let word = action.prefix { !$0.isWhitespace }
        return (String(word), String(action.dropFirst(word.count)).trimmed)
    }
}
