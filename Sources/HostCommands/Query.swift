import HostModel

/// An expression in the part of yq's language that `list --yq` and `list --filter` know. It maps a value to any number of
/// values. docs/queries.md describes the language.
package indirect enum Query: Sendable, Equatable {
    case identity
    case literal(QueryValue)
    case key(Query, String)
    case index(Query, Int)
    /// `.[]`: each element.
    case each(Query)
    case pipe(Query, Query)
    case operation(Operator, Query, Query)
    case call(Function, Query?)
    case listOf(Query?)

    package enum Operator: String, Sendable {
        case equal = "=="
        case unequal = "!="
        case atMost = "<="
        case atLeast = ">="
        case less = "<"
        case greater = ">"
        case and, or
        case alternative = "//"
        case plus = "+"
        case minus = "-"
        case times = "*"
        case dividedBy = "/"
    }

    package enum Function: String, Sendable, CaseIterable {
        case select, map, length, keys, has, contains, test, not, downcase, upcase, join, split, sort, unique, first,
            last

        var takesArgument: Bool {
            switch self {
            case .select, .map, .has, .contains, .test, .join, .split: true
            case .length, .keys, .not, .downcase, .upcase, .sort, .unique, .first, .last: false
            }
        }
    }

    /// - Throws: `HostError` with `.usage` for an operation that the value does not have.
    package func results(on input: QueryValue) throws(HostError) -> [QueryValue] {
        switch self {
        case .identity: return [input]
        case .literal(let value): return [value]
        case .key(let inner, let key):
            return try Self.mapped(inner, input) { value throws(HostError) in
                switch value {
                case .mapping, .null: value[key]
                default: throw Self.fault("\(value.kind) has no key \(InstanceName.quoted(key))")
                }
            }
        case .index(let inner, let index):
            return try Self.mapped(inner, input) { value throws(HostError) in
                switch value {
                case .list(let values):
                    let position = index < 0 ? values.count + index : index
                    return values.indices.contains(position) ? values[position] : .null
                case .null: return .null
                default: throw Self.fault("\(value.kind) has no element \(index)")
                }
            }
        case .each(let inner):
            return try Self.flatMapped(inner, input) { value throws(HostError) in
                switch value {
                case .list(let values): values
                case .mapping(let entries): entries.map(\.value)
                case .null: []
                default: throw Self.fault("\(value.kind) has no elements")
                }
            }
        case .pipe(let first, let second):
            return try Self.flatMapped(first, input) { value throws(HostError) in try second.results(on: value) }
        case .operation(let name, let left, let right): return try Self.operate(name, left, right, input)
        case .call(let function, let argument): return try Self.call(function, argument, input)
        case .listOf(let inner): return [.list(try inner?.results(on: input) ?? [])]
        }
    }

    private static func mapped(
        _ inner: Query, _ input: QueryValue, _ transform: (QueryValue) throws(HostError) -> QueryValue
    ) throws(HostError) -> [QueryValue] {
        try flatMapped(inner, input) { value throws(HostError) in [try transform(value)] }
    }

    private static func flatMapped(
        _ inner: Query, _ input: QueryValue, _ transform: (QueryValue) throws(HostError) -> [QueryValue]
    ) throws(HostError) -> [QueryValue] {
        var results: [QueryValue] = []
        for value in try inner.results(on: input) { results += try transform(value) }
        return results
    }

    static func fault(_ reason: String) -> HostError { HostError(.usage, "the query cannot be answered: \(reason)") }

    // MARK: Operators

    private static func operate(
        _ name: Operator, _ left: Query, _ right: Query, _ input: QueryValue
    ) throws(HostError) -> [QueryValue] {
        var results: [QueryValue] = []
        for first in try left.results(on: input) {
            switch name {
            case .and where !first.isTrue: results.append(.flag(false))
            case .or where first.isTrue: results.append(.flag(true))
            case .alternative where first.isTrue: results.append(first)
            default:
                for second in try right.results(on: input) { results.append(try value(name, first, second)) }
            }
        }
        return results
    }

    private static func value(
        _ name: Operator, _ left: QueryValue, _ right: QueryValue
    ) throws(HostError) -> QueryValue {
        switch name {
        case .equal: return .flag(left == right)
        case .unequal: return .flag(left != right)
        case .less: return .flag(left < right)
        case .greater: return .flag(right < left)
        case .atMost: return .flag(left <= right)
        case .atLeast: return .flag(left >= right)
        case .and, .or: return .flag(right.isTrue)
        case .alternative: return right
        case .plus, .minus, .times, .dividedBy:
            switch (name, left, right) {
            case (.plus, .text(let left), .text(let right)): return .text(left + right)
            case (.plus, .list(let left), .list(let right)): return .list(left + right)
            case (.plus, .number(let left), .number(let right)): return .number(left + right)
            case (.minus, .number(let left), .number(let right)): return .number(left - right)
            case (.times, .number(let left), .number(let right)): return .number(left * right)
            case (.dividedBy, .number(let left), .number(let right)): return .number(left / right)
            default: throw fault("\(left.kind) \(name.rawValue) \(right.kind) has no value")
            }
        }
    }

    // MARK: Functions

    private static func call(
        _ function: Function, _ argument: Query?, _ input: QueryValue
    ) throws(HostError) -> [QueryValue] {
        switch (function, input) {
        case (.select, _):
            return try argument?.results(on: input).contains(where: \.isTrue) ?? false ? [input] : []
        case (.map, .list(let values)):
            var results: [QueryValue] = []
            for value in values { results += try argument?.results(on: value) ?? [] }
            return [.list(results)]
        case (.not, _): return [.flag(!input.isTrue)]
        case (.length, .text(let text)): return [.number(Double(text.count))]
        case (.length, .list(let values)): return [.number(Double(values.count))]
        case (.length, .mapping(let entries)): return [.number(Double(entries.count))]
        case (.length, .null): return [.number(0)]
        case (.keys, .mapping(let entries)): return [.list(entries.map { .text($0.key) })]
        case (.keys, .list(let values)): return [.list(values.indices.map { .number(Double($0)) })]
        case (.downcase, .text(let text)): return [.text(text.lowercased())]
        case (.upcase, .text(let text)): return [.text(text.uppercased())]
        case (.sort, .list(let values)): return [.list(values.sorted())]
        case (.unique, .list(let values)): return [.list(withoutRepetitions(values))]
        case (.first, .list(let values)): return values.first.map { [$0] } ?? []
        case (.last, .list(let values)): return values.last.map { [$0] } ?? []
        default: break
        }
        var results: [QueryValue] = []
        for value in try argument?.results(on: input) ?? [] {
            switch (function, input, value) {
            case (.has, .mapping(let entries), .text(let key)):
                results.append(.flag(entries.contains { $0.key == key }))
            case (.has, .list(let values), .number(let index)):
                results.append(.flag(values.indices.contains(Int(index))))
            case (.contains, .text(let text), .text(let part)): results.append(.flag(text.contains(part)))
            case (.contains, .list(let values), .list(let parts)):
                results.append(.flag(parts.allSatisfy(values.contains)))
            case (.contains, .list(let values), _): results.append(.flag(values.contains(value)))
            case (.test, .text(let text), .text(let pattern)): results.append(.flag(try matches(text, pattern)))
            case (.join, .list(let values), .text(let separator)):
                results.append(.text(values.map(\.line).joined(separator: separator)))
            case (.split, .text(let text), .text(let separator)) where !separator.isEmpty:
                results.append(
                    .list(
                        text.split(separator: separator, omittingEmptySubsequences: false).map {
                            .text(String($0))
                        }))
            default: throw fault("\(function.rawValue) does not work on \(input.kind) with \(value.kind)")
            }
        }
        guard function.takesArgument else { throw fault("\(function.rawValue) does not work on \(input.kind)") }
        return results
    }

    private static func withoutRepetitions(_ values: [QueryValue]) -> [QueryValue] {
        values.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    private static func matches(_ text: String, _ pattern: String) throws(HostError) -> Bool {
        do {
            return text.contains(try Regex(pattern))
        } catch {
            throw fault("\(InstanceName.quoted(pattern)) is not a regular expression")
        }
    }
}
