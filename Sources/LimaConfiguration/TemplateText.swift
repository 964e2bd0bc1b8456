import HostModel

/// What the variables of a template stand for, by their names without the leading dot: `User`, `Param.version`.
struct TemplateVariables {
    var values: [String: String] = [:]
}

/// Text with variables in double braces, as Lima writes them: `{{.User}}`.
enum TemplateText {
    /// The text with the values of its variables. A text with anything else in double braces is returned as it is, and a
    /// warning says so: a script may well hold braces that are not meant for us, such as those of `docker ps --format`.
    static func expanded(_ text: String, _ variables: TemplateVariables, warn: (String) -> Void) -> String {
        guard text.contains("{{") else { return text }
        var result = ""
        var rest = text[...]
        while let start = rest.firstRange(of: "{{") {
            guard let end = rest[start.upperBound...].firstRange(of: "}}") else {
                warn("the braces {{ are never closed; the text is used as it is")
                return text
            }
            let inside = String(rest[start.upperBound..<end.lowerBound]).trimmed
            guard inside.first == ".", let value = variables.values[String(inside.dropFirst())] else {
                warn("{{\(inside.prefix(40))}} is not a variable; the text is used as it is")
                return text
            }
            result += rest[..<start.lowerBound] + value
            rest = rest[end.upperBound...]
        }
        return result + rest
    }
}
