/// Sizes in bytes as people write them. Units are powers of 1024, with or without the `i`.
package enum ByteCount {
    private static let units: [(suffix: String, factor: Int)] = [
        ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40), ("p", 1 << 50),
    ]

    /// Reads `4GiB`, `512M`, `1.5gb` or `1048576`; nil for anything else, or if the number is too large.
    package static func parse(_ text: String) -> Int? {
        var number = text.lowercased().filter { $0 != " " }[...]
        var factor = 1
        if number.hasSuffix("b") { number = number.dropLast() }
        if number.hasSuffix("i") { number = number.dropLast() }
        if let unit = units.first(where: { number.hasSuffix($0.suffix) }) {
            factor = unit.factor
            number = number.dropLast()
        } else if text.lowercased().contains("i") {
            return nil
        }
        guard let value = Double(number), value.isFinite, value >= 0,
            number.first?.isNumber == true, number.utf8.allSatisfy({ 48...57 ~= $0 || $0 == 46 })
        else { return nil }
        let bytes = value * Double(factor)
        return bytes < 9e18 ? Int(bytes) : nil
    }

    /// The size in its largest unit, with at most one decimal place: `4GiB`, `1.5GiB`, `512MiB`.
    package static func format(_ bytes: Int) -> String {
        for unit in units.reversed() where bytes >= unit.factor {
            let tenths = (Double(bytes) / Double(unit.factor) * 10).rounded()
            let whole = Int(tenths) / 10
            let rest = Int(tenths) % 10
            return (rest == 0 ? "\(whole)" : "\(whole).\(rest)") + unit.suffix.uppercased() + "iB"
        }
        return "\(bytes)B"
    }
}

/// Durations in whole seconds as people and systemd write them.
package enum Seconds {
    /// Reads `90`, `90s`, `2m`, `1m30s` or `1h`; nil for anything else.
    package static func parse(_ text: String) -> Int? {
        var total = 0
        var digits = ""
        for character in text {
            if character.isASCII, character.isNumber {
                digits.append(character)
                continue
            }
            guard let factor = ["s": 1, "m": 60, "h": 3600][character], let number = Int(digits) else { return nil }
            let (product, overflow) = number.multipliedReportingOverflow(by: factor)
            guard !overflow, product < 1 << 40 else { return nil }
            total += product
            digits = ""
        }
        if digits.isEmpty { return text.isEmpty ? nil : total }
        guard total == 0, let number = Int(digits) else { return nil }
        return number
    }
}
