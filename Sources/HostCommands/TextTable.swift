/// Aligned columns for people.
enum TextTable {
    /// - Parameter below: lines printed under each row, such as its errors.
    static func render(header: [String], cells: [[String]], below: [[String]]) -> String {
        let all = [header] + cells
        let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
        var text = ""
        for (index, line) in all.enumerated() {
            let padded = line.indices.map { column in
                column == line.count - 1
                    ? line[column]
                    : line[column] + String(repeating: " ", count: widths[column] - line[column].count + 4)
            }
            text += padded.joined() + "\n"
            guard index > 0 else { continue }
            for remark in below[index - 1] { text += "    \(remark.replacing("\n", with: "\n    "))\n" }
        }
        return text
    }
}
